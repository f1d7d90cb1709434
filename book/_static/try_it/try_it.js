// The page "Try it": takes photos from the disk, the clipboard or the camera, asks the classifier, shows what it said.

import { percent, spread, verdict } from "./answers.js";
import { loadClassifier, readFacts } from "./classifier.js";
import { BadPhoto } from "./photo_file.js";

const AT_ONCE = 60; // photos of one drop; more would only be scrolled past
const SEEN = { crop: "its middle square", squash: "all of it, squeezed into a square", pad: "all of it, with black edges" };
let root = null; // the page's part that is ours, once the browser has read that far
const part = (name) => root.querySelector(`[data-part="${name}"]`);

/** An element with classes, attributes and content. Text is always set as text. */
function make(tag, { class: classes = "", ...attributes } = {}, ...content) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}

// --- the model ------------------------------------------------------------------------------------------------------

const told = { text: "", kind: "", share: null };

/** Tell how it stands: a sentence, "good" or "bad" where it is final, and how much is loaded (0 to 1) while it is not. */
function say(text, kind = "", share = null) {
  Object.assign(told, { text, kind, share });
  if (root) show();
}

function show() {
  part("status").textContent = told.text;
  part("status").dataset.kind = told.kind;
  part("progress").hidden = told.share === null;
  part("progress").value = told.share ?? 0;
}

/** The share of test photos that the model got right, in words; nothing where it does not say. */
function howGood({ figures = {}, classes }) {
  const { value, interval, count } = figures.accuracy ?? {};
  if (!value || !count) return `It knows ${classes.length} breeds.`;
  const points = (share) => (share * 100).toFixed(1);
  const range = interval ? ` (95 % interval: ${points(interval[0])} to ${points(interval[1])} %)` : "";
  return `It knows ${classes.length} breeds, and named ${points(value)} % of ${count.toLocaleString("en")} test photos right${range}.`;
}

async function load() {
  say("Loading the model …", "", 0);
  const facts = await readFacts();
  if (!facts) {
    say("This copy of the site was built without the model, so nothing can be answered here. Below you read how to ask it from a shell.", "bad");
    return null;
  }
  const classifier = await loadClassifier(facts, (share) => {
    say(share < 1 ? `Loading the model: ${Math.floor(share * 100)} %` : "Starting the model …", "", share);
  });
  say(`The model is ready. ${howGood(facts)}`, "good");
  return classifier;
}

// --- one photo ------------------------------------------------------------------------------------------------------

function card(name) {
  const words = make("div", { class: "try-words" }, make("p", { class: "try-file" }, name), make("p", { class: "try-said" }, "Waiting …"));
  return make("li", { class: "try-card", "data-state": "waiting" }, words);
}

/** The square that the network saw, with the evidence laid over it where `shares` is given. */
function paint(canvas, square, shares = null) {
  const size = canvas.width;
  const picture = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) {
    const light = shares ? 0.22 + 0.78 * shares[i] : 1;
    for (let c = 0; c < 3; c++) picture.data[i * 4 + c] = square[i * 3 + c] * light;
    picture.data[i * 4 + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function figure(answer, spoken, { size, method }) {
  const canvas = make("canvas", { width: size, height: size, role: "img" });
  const seen = `What the network saw of the photo: ${SEEN[method]}, ${size} x ${size} pixels.`;
  const note = make("figcaption", {}, seen);
  const shown = make("figure", { class: "try-seen" }, canvas, note);
  canvas.setAttribute("aria-label", seen);
  paint(canvas, answer.square);
  const { index, name } = spoken.top[0];
  const { height, width, of } = answer.evidence ?? {};
  const shares = of && spread(of(index), height, width, size);
  if (shares) {
    const box = make("input", { type: "checkbox" });
    const where = `Bright: where it found evidence for ${name}, on a grid of ${height} x ${width} fields. That says where it looked, not why.`;
    box.addEventListener("change", () => {
      paint(canvas, answer.square, box.checked ? shares : null);
      note.textContent = box.checked ? where : seen;
    });
    shown.append(make("label", { class: "try-toggle" }, box, ` Where was the evidence for ${name}?`));
  }
  return shown;
}

function bars(top) {
  const rows = top.map(({ name, probability }) => {
    const fill = make("span", { class: "try-fill" });
    fill.style.width = `${probability * 100}%`;
    const bar = make("span", { class: "try-bar", "aria-hidden": "true" }, fill);
    return make("li", {}, make("span", { class: "try-name" }, name), bar, make("span", { class: "try-share" }, percent(probability)));
  });
  return make("ol", { class: "try-bars", "aria-label": "The five most probable breeds" }, ...rows);
}

function showAnswer(item, name, answer, facts, milliseconds) {
  const spoken = verdict(answer, facts);
  item.dataset.state = spoken.kind;
  item.answer = answer; // for whoever looks from the browser's console
  const words = item.querySelector(".try-words");
  words.querySelector(".try-said").textContent = spoken.said;
  words.append(make("p", { class: "try-more" }, spoken.more), bars(spoken.top));
  words.append(make("p", { class: "try-time" }, `Answered on this device in ${Math.max(1, Math.round(milliseconds))} ms.`));
  item.prepend(figure(answer, spoken, facts.preprocessing));
  announce(`${name}: ${spoken.said}${spoken.kind === "answer" ? `, ${percent(spoken.top[0].probability)}` : ""}`);
}

function showProblem(item, name, reason) {
  item.dataset.state = "bad";
  item.querySelector(".try-said").textContent = `It cannot be used as a photo: ${reason}.`;
  announce(`${name} cannot be used as a photo: ${reason}.`);
}

/** Screen readers read what is put here. */
function announce(text) {
  part("announce").append(make("p", {}, text));
  while (part("announce").children.length > 5) part("announce").firstChild.remove();
}

// --- one photo after the other --------------------------------------------------------------------------------------

const waiting = [];
let loading = null;
let busy = false;

/** Put photos in the queue. `photos`: [{name, photo}], where photo is a file or a canvas. */
function take(photos) {
  if (!photos.length) return;
  const chosen = photos.slice(0, AT_ONCE);
  const cards = chosen.map(({ name }) => card(name));
  part("results").prepend(...cards);
  part("clear").hidden = false;
  part("note").textContent = photos.length > AT_ONCE ? `The first ${AT_ONCE} of ${photos.length} files are answered.` : "";
  chosen.forEach((photo, i) => waiting.push({ ...photo, item: cards[i] }));
  cards[0].scrollIntoView({ block: "nearest" });
  answerAll();
}

async function answerAll() {
  if (busy) return;
  busy = true;
  let classifier = null;
  try {
    classifier = await begin();
  } catch {
    classifier = null; // `begin` has said why
  }
  while (waiting.length) {
    const { name, photo, item } = waiting.shift();
    if (!item.isConnected) continue; // removed before its turn
    if (!classifier) {
      item.dataset.state = "bad";
      item.querySelector(".try-said").textContent = "Not answered: there is no model.";
      continue;
    }
    item.querySelector(".try-said").textContent = "Looking …";
    await new Promise((done) => setTimeout(done)); // lets the browser draw between two photos
    const started = performance.now();
    try {
      showAnswer(item, name, await classifier.answer(photo), classifier.facts, performance.now() - started);
    } catch (error) {
      if (!(error instanceof BadPhoto)) console.warn(error);
      showProblem(item, name, error instanceof BadPhoto ? error.message : "something went wrong with it in this browser");
    }
  }
  busy = false;
}

/** Load the model once. A load that failed is tried again with the next photo. */
function begin() {
  loading ??= load().catch((error) => {
    loading = null;
    say(`The model could not be loaded: ${error.message}. Check the connection, then reload the page.`, "bad");
    throw error;
  });
  return loading;
}

// --- where photos come from -----------------------------------------------------------------------------------------

const named = (files) => Array.from(files, (photo) => ({ name: photo.name || "pasted picture", photo }));
/** A picture or a video's present frame as a canvas. */
function copyOf(picture, width, height) {
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(picture, 0, 0);
  return canvas;
}

const hasFiles = (event) => Array.from(event.dataTransfer?.types ?? []).includes("Files");

function listen() {
  const zone = part("drop");
  const file = part("file");
  part("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    take(named(file.files));
    file.value = ""; // so that the same file can be chosen again
  });
  for (const button of root.querySelectorAll(".try-drawing")) {
    button.addEventListener("click", async () => {
      const image = button.querySelector("img");
      await image.decode();
      take([{ name: image.alt, photo: copyOf(image, image.naturalWidth, image.naturalHeight) }]);
    });
  }
  // A photo that falls beside the zone would otherwise replace the page.
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      zone.dataset.over = "";
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) delete zone.dataset.over;
  });
  document.addEventListener("drop", (event) => {
    delete zone.dataset.over;
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(named(event.dataTransfer.files));
  });
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length) return;
    event.preventDefault();
    take(named(event.clipboardData.files));
  });
  part("clear").addEventListener("click", () => {
    part("results").replaceChildren();
    part("note").textContent = "";
    part("clear").hidden = true;
    part("choose").focus();
  });
  if (navigator.mediaDevices?.getUserMedia) listenToCamera();
}

function listenToCamera() {
  const dialog = part("camera");
  const video = part("video");
  const problem = part("camera-problem");
  const shoot = part("shoot");
  let stream = null;
  part("open-camera").hidden = false;
  part("open-camera").addEventListener("click", async () => {
    problem.textContent = "";
    shoot.disabled = true;
    dialog.showModal();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
      if (!dialog.open) return stop(); // closed while the browser asked for leave
      video.srcObject = stream;
      await video.play();
      shoot.disabled = false;
      shoot.focus();
    } catch (error) {
      const reasons = { NotAllowedError: "the browser does not allow it", NotFoundError: "none was found" };
      if (dialog.open) problem.textContent = `No picture from the camera: ${reasons[error.name] ?? "it may be in use elsewhere"}.`;
    }
  });
  shoot.addEventListener("click", () => {
    const photo = copyOf(video, video.videoWidth, video.videoHeight);
    dialog.close();
    take([{ name: "photo from the camera", photo }]);
  });
  part("close-camera").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);

  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = null;
  }
}

// --- the start ------------------------------------------------------------------------------------------------------

function start() {
  root = document.getElementById("pet-trial");
  root.dataset.ready = "";
  listen();
  show();
}

// The model is asked for at once, while the browser still reads the page.
if (navigator.connection?.saveData) say("To save data, the model (about 8 MB) is loaded with your first photo.");
else begin().catch(() => {});
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
