// Shows the camera, sends its pictures to the server one after the other, and draws what it answers
// as bars. The next picture is sent when the answer has come, so nothing piles up.
const SIDE = 480; // pixels of the longer side that is sent: more than networks look at
const SHOWN = 5; // bars at most, where there are more classes than that which all fit
const ALL = 8; // classes of which each has a bar that stays in its place
const LEAST = 40; // milliseconds from one picture to the next
const SPAN = 3000; // milliseconds over which answers are counted

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector(".live");
  const live = (root.live ??= { facing: "environment", answers: [], canvas: document.createElement("canvas") });
  const restart = live.url !== undefined && live.url !== data.url; // another run was chosen
  Object.assign(live, { root, data, url: data.url, trigger: setTriggerValue });
  label(live);
  if (restart) live.answers = [];
  if (!live.begun) {
    live.begun = true;
    listen(live);
    start(live);
  }
  return () => {
    live.begun = !live.stream; // if it is shown again, it goes on where it was going
    stop(live);
  };
}

const part = (live, name) => live.root.querySelector("." + name);

function label({ root, data: { words } }) {
  for (const name of ["keep", "switch", "shoot"]) root.querySelector("." + name).textContent = words[name];
}

function show(live, running, text = "", waits = false) {
  const { words } = live.data;
  live.root.querySelector("video").hidden = !running;
  part(live, "said").textContent = text;
  part(live, "keep").hidden = !running;
  part(live, "switch").hidden = !running || !live.several;
  part(live, "turn").hidden = waits;
  part(live, "turn").textContent = running ? words.stop : words.start;
  part(live, "shoot").hidden = running || waits; // a phone can take a photo without the live camera
  if (!running) part(live, "rate").textContent = "";
}

function listen(live) {
  part(live, "keep").onclick = async () => keep(live, await picture(live, 1920));
  part(live, "turn").onclick = () => (live.stream ? (stop(live), show(live, false)) : start(live));
  part(live, "switch").onclick = () => {
    live.facing = live.facing === "user" ? "environment" : "user";
    stop(live);
    start(live);
  };
  const input = live.root.querySelector("input");
  part(live, "shoot").onclick = () => input.click();
  input.onchange = () => {
    if (input.files.length) keep(live, input.files[0]);
    input.value = "";
  };
}

async function start(live) {
  const { words } = live.data;
  if (!navigator.mediaDevices) return show(live, false, words.insecure);
  show(live, false, words.asking, true);
  try {
    const video = { facingMode: live.facing, width: { ideal: 1280 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    if (!live.root.isConnected) return stream.getTracks().forEach((track) => track.stop());
    live.stream = stream;
  } catch (error) {
    const why = { NotAllowedError: "denied", NotFoundError: "missing", OverconstrainedError: "missing" };
    return show(live, false, words[why[error.name] ?? "busy"]);
  }
  const [track] = live.stream.getVideoTracks();
  track.onended = () => (stop(live), show(live, false, words.missing));
  const cameras = await navigator.mediaDevices.enumerateDevices();
  live.several = cameras.filter((device) => device.kind === "videoinput").length > 1;
  const video = live.root.querySelector("video");
  video.classList.toggle("mirrored", (track.getSettings().facingMode ?? "user") === "user");
  video.srcObject = live.stream;
  show(live, true);
  part(live, "rate").textContent = words.loading;
  run(live, live.stream);
}

function stop(live) {
  live.stream?.getTracks().forEach((track) => track.stop());
  live.stream = null;
  live.answers = [];
}

async function run(live, stream) {
  const here = () => live.stream === stream;
  while (here()) {
    if (!live.root.isConnected) return stop(live);
    const image = document.hidden ? null : await picture(live, SIDE);
    if (!image) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      continue;
    }
    const { url } = live;
    const next = new Promise((resolve) => setTimeout(resolve, LEAST));
    let answer;
    try {
      answer = await send(live, url, image);
    } catch (error) {
      if (!here()) return;
      stop(live);
      return show(live, false, error.message || live.data.words.no_server);
    }
    if (here() && url === live.url) draw(live, answer);
    await next;
  }
}

function picture(live, side) {
  const video = live.root.querySelector("video");
  const scale = Math.min(1, side / Math.max(video.videoWidth, video.videoHeight));
  if (!video.videoWidth || video.readyState < 2) return null;
  const { canvas } = live;
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}

async function send({ data: { words } }, url, body) {
  let response;
  try {
    response = await fetch(url, { method: "POST", body });
  } catch {
    throw new Error(words.no_server);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `HTTP ${response.status}`);
  return answer;
}

async function keep(live, image) {
  if (!image) return;
  try {
    const { folder } = await send(live, live.url + "?keep=1", image);
    live.trigger("kept", folder);
  } catch (error) {
    part(live, "said").textContent = error.message;
  }
}

function draw(live, { top, problem, unknown }) {
  const { words, labels } = live.data;
  const bars = part(live, "bars");
  const known = new Map(top);
  const fixed = labels.length <= ALL;
  const names = fixed ? labels : top.slice(0, SHOWN).map(([name]) => name);
  const key = fixed ? labels.join("\n") : names.length;
  if (bars.key !== key) {
    bars.key = key;
    bars.replaceChildren(verdict(), ...names.map(bar));
  }
  bars.classList.toggle("unknown", Boolean(unknown));
  bars.firstChild.textContent = problem || (unknown ? words.unknown : (top[0]?.[0] ?? ""));
  names.forEach((name, i) => {
    const row = bars.children[i + 1];
    const value = known.get(name) ?? 0;
    row.classList.toggle("best", name === top[0]?.[0]);
    row.children[0].textContent = row.title = name;
    row.children[1].textContent = `${(100 * value).toFixed(1)}%`;
    row.children[2].firstChild.style.width = `${100 * value}%`;
  });
  const now = performance.now();
  live.answers = [...live.answers.filter((time) => now - time < SPAN), now];
  const seconds = (now - live.answers[0]) / 1000;
  const rate = seconds > 0.5 ? (live.answers.length - 1) / seconds : 0;
  live.root.dataset.rate = rate.toFixed(2);
  part(live, "rate").textContent = rate ? words.rate.replace("{n}", rate < 10 ? rate.toFixed(1) : rate.toFixed(0)) : "";
}

function verdict() {
  const line = document.createElement("p");
  line.className = "verdict";
  line.dir = "auto";
  return line;
}

function bar(name) {
  const row = document.createElement("div");
  row.className = "bar";
  row.setAttribute("role", "listitem");
  row.innerHTML = '<span class="name" dir="auto"></span><span class="part"></span><div class="track"><div class="fill"></div></div>';
  return row;
}
