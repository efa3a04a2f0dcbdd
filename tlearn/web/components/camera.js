// Takes photos with the camera as long as a button is held, and sends them as one form. The next
// ones are sent to the next upload, whose address comes when those before were added. The camera
// stays on while the page is shown anew, and is on for the next class, until it is turned off.
const PAUSE = 200; // milliseconds between two photos
const MOST = 100; // photos at a time
const LONGEST = 1024; // pixels of the longer side
const AWAY = 2000; // milliseconds that it may be gone from the page
const cameras = (window.tlearnCameras ??= new Map()); // by key

export default function ({ parentElement, data, setTriggerValue }) {
  const root = parentElement.querySelector(".camera");
  const state = cameras.get(data.key) ?? { photos: [], taken: 0, back: true };
  cameras.set(data.key, state);
  Object.assign(state, { data, root, trigger: setTriggerValue });
  for (const name of ["open", "hold", "turn", "close", "hint"]) root.querySelector("." + name).textContent = data.words[name];
  if (root.owner !== state) {  // which may have shown the camera of another class before
    root.owner = state;
    listen(state);
    root.querySelector("video").srcObject = state.stream ?? null;
    if (window.tlearnCameraOn && !state.stream && !data.quiet) start(state);
  }
  if (state.result && state.result[1].url !== data.url) state.result = state.reported = null;
  root.hidden = Boolean(data.quiet);
  if (data.quiet) stop(state);
  draw(state);
  report(state); // they may have been sent while it was not shown
  send(state);
  return () => setTimeout(() => leave(state), AWAY);
}

function leave(state) {
  if (state.root.isConnected && state.root.owner === state) return;
  stop(state);
  if (!state.sending && !state.result && !state.photos.length) cameras.delete(state.data.key);
}

function listen(state) {
  const button = (name) => state.root.querySelector("." + name);
  const [hold, close] = [button("hold"), () => ((window.tlearnCameraOn = false), stop(state), draw(state))];
  button("open").onclick = () => start(state);
  button("close").onclick = close;
  button("turn").onclick = () => {
    state.back = !state.back;
    stop(state);
    start(state);
  };
  hold.onpointerdown = (event) => {
    hold.setPointerCapture?.(event.pointerId);
    begin(state);
  };
  hold.onpointerup = hold.onpointercancel = hold.onlostpointercapture = hold.onblur = () => end(state);
  hold.oncontextmenu = (event) => event.preventDefault(); // a long touch
  hold.onkeydown = (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    if (!event.repeat) begin(state);
  };
  hold.onkeyup = () => end(state);
}

async function start(state) {
  const { words } = state.data;
  if (state.starting) return;
  state.starting = true;
  state.problem = "";
  if (!navigator.mediaDevices?.getUserMedia) state.problem = window.isSecureContext ? words.none : words.insecure;
  else {
    try {
      const facing = state.back ? "environment" : "user";
      const video = { facingMode: facing, width: { ideal: 1280 }, height: { ideal: 960 } };
      state.stream = await navigator.mediaDevices.getUserMedia({ video });
      window.tlearnCameraOn = true;
      if (state.root.owner === state) state.root.querySelector("video").srcObject = state.stream;
      state.stream.getVideoTracks()[0].onended = () => (stop(state), draw(state));
      const devices = await navigator.mediaDevices.enumerateDevices();
      state.several = devices.filter(({ kind }) => kind === "videoinput").length > 1;
    } catch (error) {
      const reasons = { NotAllowedError: words.denied, NotFoundError: words.none, NotReadableError: words.busy };
      state.problem = reasons[error.name] ?? `${words.none} (${error.message || error.name})`;
    }
  }
  state.starting = false;
  if (!state.root.isConnected || state.root.owner !== state) stop(state);
  draw(state);
}

function stop(state) {
  end(state);
  state.stream?.getTracks().forEach((track) => track.stop());
  state.stream = null;
  if (state.root.owner === state) state.root.querySelector("video").srcObject = null;
}

function draw(state) {
  const { root, data } = state;
  if (root.owner !== state) return;
  const problem = root.querySelector(".problem");
  problem.textContent = state.problem ?? "";
  problem.hidden = !state.problem;
  root.querySelector(".open").hidden = Boolean(state.stream);
  root.querySelector(".live").hidden = !state.stream;
  root.querySelector(".turn").hidden = !state.several;
  root.classList.toggle("recording", Boolean(state.recording));
  root.querySelector(".taken").textContent = state.taken ? data.words.taken.replace("{count}", state.taken) : "";
}

function begin(state) {
  if (state.recording || !state.stream) return;
  state.begun = new Date();
  state.recording = setInterval(() => take(state), PAUSE);
  take(state);
}

function end(state) {
  if (!state.recording) return;
  clearInterval(state.recording);
  state.recording = null;
  draw(state);
  send(state);
}

async function take(state) {
  const video = state.root.querySelector("video");
  if (video.readyState < 2 || !video.videoWidth) return;
  if (state.photos.length >= MOST) return end(state);
  const scale = Math.min(1, LONGEST / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const photo = { name: nameOf(state.begun, ++state.taken) };
  state.photos.push(photo);
  draw(state);
  photo.blob = new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}

function nameOf(time, number) {
  const two = (n) => String(n).padStart(2, "0");
  const date = `${time.getFullYear()}${two(time.getMonth() + 1)}${two(time.getDate())}`;
  const clock = `${two(time.getHours())}${two(time.getMinutes())}${two(time.getSeconds())}`;
  return `camera-${date}-${clock}-${String(number).padStart(3, "0")}.jpg`;
}

// Says that photos were sent; again where the camera is shown anew with the same address, because
// what is said while a dialog is being closed is lost.
function report(state) {
  const { result, root } = state;
  if (!result || !root.isConnected || root.owner !== state || state.reported === root) return;
  state.reported = root;
  state.trigger(...result);
}

async function send(state) {
  const { url } = state.data;
  if (!state.photos.length || state.recording || state.sentTo === url) return;
  state.sentTo = url;
  state.sending = true;
  const photos = state.photos;
  state.photos = [];
  try {
    const body = new FormData();
    body.append("names", JSON.stringify(photos.map(({ name }) => name)));
    body.append("last", "");
    for (const { blob } of photos) body.append("file", await blob, "file");
    const response = await fetch(url, { method: "POST", body });
    if (!response.ok) throw new Error((await response.json()).error);
    state.result = ["done", { files: photos.length, url }];
  } catch (error) {
    state.taken -= photos.length;
    state.problem = `${state.data.words.failed} ${error.message}`;
    state.result = ["ended", { at: Date.now(), url }];
  }
  state.sending = false;
  state.reported = null;
  draw(state);
  report(state);
}
