// Sends files to the server, a request of many at a time: the browser reads them from disk as it
// sends, and the server writes them to disk as they come, so neither holds them in memory.
const BATCH_FILES = 400;
const BATCH_BYTES = 32 * 1024 * 1024;
const started = new WeakMap();

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector(".uploader");
  let state = started.get(root);
  if (!state) {
    state = { busy: false, request: null, cancelled: false };
    started.set(root, state);
    listen(root, state);
  }
  state.data = data;
  state.done = setTriggerValue;
  label(root, data, state);
}

function label(root, data, state) {
  const words = data.words;
  root.querySelector(".hint").textContent = words.hint;
  root.querySelector(".folder").textContent = words.folder;
  root.querySelector(".files").textContent = words.files;
  root.querySelector(".cancel").textContent = words.cancel;
  root.querySelector(".folder").hidden = data.flat || state.busy;
  root.querySelector(".files").hidden = state.busy;
  root.setAttribute("aria-label", words.hint);
}

function listen(root, state) {
  const [folderInput, filesInput] = root.querySelectorAll("input");
  root.querySelector(".folder").onclick = () => folderInput.click();
  root.querySelector(".files").onclick = () => filesInput.click();
  for (const input of [folderInput, filesInput]) {
    input.onchange = () => {
      const found = [...input.files].map((file) => [file.webkitRelativePath || file.name, file]);
      input.value = "";
      send(root, state, found);
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
    if (state.busy) return;
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    say(root, state.data.words.looking);
    const found = [];
    try {
      for (const entry of entries) await collect(entry, "", found, state.data.limit_files);
    } catch (error) {
      say(root, String(error.message || error), true);
      return;
    }
    send(root, state, found);
  };
  root.querySelector(".cancel").onclick = () => {
    state.cancelled = true;
    if (state.request) state.request.abort();
  };
}

async function collect(entry, path, found, limit) {
  if (found.length > limit) return;
  if (entry.isFile) {
    const file = await new Promise((take, fail) => entry.file(take, fail));
    found.push([path + entry.name, file]);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((take, fail) => reader.readEntries(take, fail));
    if (!some.length) return;
    for (const one of some) await collect(one, path + entry.name + "/", found, limit);
  }
}

async function send(root, state, found) {
  const { words, limit_files, limit_bytes, url } = state.data;
  const total = found.reduce((sum, [, file]) => sum + file.size, 0);
  if (!found.length || state.busy) return;
  if (found.length > limit_files) return say(root, words.too_many.replace("{limit}", limit_files), true);
  if (total > limit_bytes) return say(root, words.too_large.replace("{limit}", gigabytes(limit_bytes)), true);
  state.busy = true;
  state.cancelled = false;
  label(root, state.data, state);
  root.querySelector(".going").hidden = false;
  const begun = performance.now();
  let sent = 0, count = 0;
  try {
    for (const batch of batches(found)) {
      const size = batch.reduce((sum, [, file]) => sum + file.size, 0);
      await post(state, url, packed(batch), (part) => {
        show(root, words, count, found.length, sent + Math.min(part, size), total, begun);
      });
      sent += size;
      count += batch.length;
      show(root, words, count, found.length, sent, total, begun);
    }
    say(root, words.received);
    state.done("done", { files: count, bytes: sent, names: found.slice(0, 3).map(([name]) => name) });
  } catch (error) {
    fetch(url, { method: "DELETE" }).catch(() => {});
    say(root, state.cancelled ? words.cancelled : words.failed + " " + error.message, !state.cancelled);
    state.done("ended", Date.now());
  } finally {
    state.busy = false;
    state.request = null;
    root.querySelector(".going").hidden = true;
    label(root, state.data, state);
  }
}

function* batches(found) {
  let batch = [], bytes = 0;
  for (const one of found) {
    if (batch.length && (batch.length >= BATCH_FILES || bytes + one[1].size > BATCH_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(one);
    bytes += one[1].size;
  }
  if (batch.length) yield batch;
}

function packed(batch) {
  const encoder = new TextEncoder();
  const parts = [];
  for (const [name, file] of batch) {
    const header = encoder.encode(JSON.stringify({ name, size: file.size }));
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, header.length);
    parts.push(length, header, file);
  }
  return new Blob(parts);
}

function post(state, url, body, progress) {
  return new Promise((take, fail) => {
    const request = new XMLHttpRequest();
    state.request = request;
    request.open("POST", url);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onload = () => {
      if (request.status === 200) return take();
      let reason = "";
      try { reason = JSON.parse(request.responseText).error || ""; } catch { /* no words */ }
      fail(new Error(reason || `HTTP ${request.status}`));
    };
    request.onerror = () => fail(new Error(state.data.words.no_server));
    request.onabort = () => fail(new Error(""));
    request.send(body);
  });
}

function show(root, words, count, files, sent, total, begun) {
  const part = total ? sent / total : 1;
  const bar = root.querySelector("progress");
  bar.value = part;
  const seconds = (performance.now() - begun) / 1000;
  const left = part > 0.01 ? Math.ceil((seconds / part) * (1 - part)) : null;
  let text = words.sending.replace("{done}", count).replace("{files}", files);
  text += ` · ${megabytes(sent)} / ${megabytes(total)} MB`;
  if (left !== null) text += ` · ${words.left.replace("{seconds}", left)}`;
  say(root, text);
}

function say(root, text, problem = false) {
  const line = root.querySelector(".said");
  line.textContent = text;
  line.classList.toggle("problem", problem);
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
const gigabytes = (bytes) => (bytes / 1e9).toFixed(0) + " GB";
