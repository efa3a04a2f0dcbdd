// Sends files to the server: many small ones as one form, a large one as the body of a request, so
// that neither side holds more than a form in memory. An upload goes on while other pages of the
// app are shown; it is cancelled when the tab is closed or loaded again.
const FORM_FILES = 400;
const FORM_BYTES = 16 * 1024 * 1024;
const uploads = (window.tlearnUploads ??= new Map()); // by address

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector(".uploader");
  const line = root.querySelector(".said"); // why the upload before came to nothing
  const before = line.textContent === data.words.received ? "" : line.textContent;
  const upload = uploads.get(data.url) ?? { text: before, problem: line.classList.contains("problem") };
  uploads.set(data.url, upload);
  for (const [url, { reported, key }] of uploads) {
    if (reported && key === data.key && url !== data.url) uploads.delete(url); // the server has heard of its end
  }
  upload.key = data.key;
  upload.draw = () => draw(root, data, upload);
  upload.report = () => {
    // Again where it is shown anew with the same address: what is said while a dialog is closed is lost.
    if (!upload.result || !root.isConnected || upload.reported === root) return;
    upload.reported = root;
    setTriggerValue(...upload.result);
  };
  listen(root, data, upload);
  upload.draw();
  upload.report(); // it may have ended while another page was shown
}

function draw(root, data, upload) {
  const { words } = data;
  root.querySelector(".hint").textContent = upload.busy ? words.stay : words.hint;
  for (const name of ["folder", "files", "cancel"]) root.querySelector("." + name).textContent = words[name];
  root.querySelector(".folder").hidden = data.flat || upload.busy;
  root.querySelector(".files").hidden = upload.busy;
  root.querySelector(".going").hidden = !upload.busy;
  root.querySelector("progress").value = upload.part ?? 0;
  root.setAttribute("aria-label", words.hint);
  root.hidden = data.quiet && !upload.busy;
  const line = root.querySelector(".said");
  line.textContent = upload.text;
  line.classList.toggle("problem", upload.problem);
}

function say(upload, text, problem = false) {
  Object.assign(upload, { text, problem });
  upload.draw();
}

function listen(root, data, upload) {
  const [folderInput, filesInput] = root.querySelectorAll("input");
  root.querySelector(".folder").onclick = () => folderInput.click();
  root.querySelector(".files").onclick = () => filesInput.click();
  for (const input of [folderInput, filesInput]) {
    input.onchange = () => {
      const files = [...input.files].map((file) => [file.webkitRelativePath || file.name, file]);
      input.value = "";
      send(data, upload, files);
    };
  }
  root.ondragover = (event) => {
    event.preventDefault();
    root.classList.add("over");
  };
  root.ondragleave = () => root.classList.remove("over");
  root.ondrop = async (event) => {
    event.preventDefault();
    root.classList.remove("over");
    if (upload.busy) return;
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    say(upload, data.words.reading);
    const files = [];
    try {
      for (const entry of entries) await collect(entry, "", files, data.limit_files);
    } catch (error) {
      return say(upload, String(error.message || error), true);
    }
    send(data, upload, files);
  };
  root.querySelector(".cancel").onclick = () => upload.request.abort();
}

async function collect(entry, path, files, limit) {
  if (files.length > limit) return;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    files.push([path + entry.name, file]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return;
    for (const inner of entries) await collect(inner, path + entry.name + "/", files, limit);
  }
}

async function send({ words, limit_files, limit_bytes, url }, upload, files) {
  const total = files.reduce((sum, [, file]) => sum + file.size, 0);
  if (!files.length || upload.busy) return;
  if (files.length > limit_files) return say(upload, words.too_many.replace("{limit}", limit_files), true);
  if (total > limit_bytes) return say(upload, words.too_large.replace("{limit}", `${limit_bytes / 1e9} GB`), true);
  Object.assign(upload, { busy: true, request: new XMLHttpRequest() });
  const warn = (event) => event.preventDefault();
  const cancel = () => fetch(url, { method: "DELETE", keepalive: true }).catch(() => {});
  window.addEventListener("beforeunload", warn);
  window.addEventListener("pagehide", cancel);
  const begun = performance.now();
  let sent = 0, count = 0;
  try {
    for (const batch of batches(files)) {
      const size = batch.reduce((sum, [, file]) => sum + file.size, 0);
      const show = (part) => progress(upload, words, count, files.length, sent + Math.min(part, size), total, begun);
      await post(upload, words, url, batch, show);
      sent += size;
      count += batch.length;
      show(0);
    }
    upload.text = words.received;
    upload.result = ["done", { files: count, bytes: sent, names: files.slice(0, 3).map(([name]) => name), url }];
  } catch (error) {
    cancel();
    const cancelled = error.message === "";
    Object.assign(upload, { text: cancelled ? words.cancelled : `${words.failed} ${error.message}`, problem: !cancelled });
    upload.result = ["ended", { at: Date.now(), url }];
  } finally {
    window.removeEventListener("beforeunload", warn);
    window.removeEventListener("pagehide", cancel);
    upload.busy = false;
    upload.draw();
    upload.report();
  }
}

function* batches(files) {
  let batch = [], bytes = 0;
  for (const item of files) {
    if (batch.length && (batch.length >= FORM_FILES || bytes + item[1].size > FORM_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(item);
    bytes += item[1].size;
  }
  if (batch.length) yield batch;
}

function post(upload, words, url, batch, show) {
  let body = batch[0][1];
  if (batch.length > 1) {
    body = new FormData();
    body.append("names", JSON.stringify(batch.map(([name]) => name)));
    for (const [, file] of batch) body.append("file", file, "file");
  } else {
    url += "?name=" + encodeURIComponent(batch[0][0].toWellFormed?.() ?? batch[0][0]);
  }
  return new Promise((resolve, reject) => {
    const { request } = upload;
    request.open("POST", url);
    request.upload.onprogress = (event) => show(event.loaded);
    request.onload = () => {
      if (request.status === 200) return resolve();
      let reason = "";
      try { reason = JSON.parse(request.responseText).error; } catch { /* not in words */ }
      reject(new Error(reason || `HTTP ${request.status}`));
    };
    request.onerror = () => reject(new Error(words.no_server));
    request.onabort = () => reject(new Error(""));
    request.send(body);
  });
}

function progress(upload, words, count, files, sent, total, begun) {
  upload.part = total ? sent / total : 1;
  const seconds = (performance.now() - begun) / 1000;
  let text = words.sending.replace("{done}", count).replace("{files}", files);
  text += ` · ${megabytes(sent)} / ${megabytes(total)} MB`;
  if (upload.part > 0.01) text += ` · ${words.remaining.replace("{seconds}", Math.ceil(seconds / upload.part - seconds))}`;
  say(upload, text);
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
