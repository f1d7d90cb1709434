// The model in the browser: read a photo as Python reads it, run the same ONNX graph, hand back its numbers.

import { BadPhoto, MAX_BYTES, inspect } from "./photo_file.js";
import { draftFactor, fit, reduced, toInput } from "./resample.js";

const RUNTIME = new URL("../vendor/onnxruntime-web/", import.meta.url);
const MODEL = new URL("../model/", import.meta.url);

/** Fetch a file; `report(bytes so far, bytes in all)` is called as it comes. */
async function fetchBytes(url, signal, report) {
  const answer = await fetch(url, { signal });
  if (!answer.ok) throw new Error(`${url.pathname.split("/").pop()} could not be loaded (${answer.status})`);
  const total = Number(answer.headers.get("content-length")) || 0;
  const parts = [];
  let have = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    report((have += value.length), total);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The bytes of a gzip file; as they are where the server has unpacked them on the way. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** What is known of the model that this site was built with; null where it was built without one. */
export async function readFacts() {
  const answer = await fetch(new URL("model.json", MODEL), { cache: "no-cache" });
  if (!answer.ok) throw new Error(`model.json could not be loaded (${answer.status})`);
  const facts = await answer.json();
  return facts.classes ? facts : null;
}

/** The classifier. `report(share)` is called with 0 to 1 while it loads. Throws where something cannot be loaded or run. */
export async function loadClassifier(facts, report = () => {}) {
  const version = facts.files?.["model.onnx"]?.sha256?.slice(0, 16) ?? "";
  const sources = [new URL("ort-wasm-simd-threaded.wasm.gz", RUNTIME), new URL(`model.onnx?${version}`, MODEL)];
  const counts = sources.map(() => ({ have: 0, total: 0 }));
  const stop = new AbortController();
  const fetched = sources.map((url, i) =>
    fetchBytes(url, stop.signal, (have, total) => {
      counts[i] = { have, total };
      const all = counts.every((count) => count.total) ? counts.reduce((sum, count) => sum + count.total, 0) : Infinity;
      report(Math.min(counts.reduce((sum, count) => sum + count.have, 0) / all, 1));
    }),
  );
  const program = import(new URL("ort.wasm.bundle.min.js", RUNTIME));
  try {
    const [ort, wasm, graph] = await Promise.all([program, fetched[0].then(unpacked), fetched[1]]);
    Object.assign(ort.env.wasm, { wasmBinary: wasm.buffer, numThreads: 1, proxy: false });
    ort.env.logLevel = "error";
    const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], logSeverityLevel: 3 });
    return new Classifier(ort, session, facts);
  } catch (error) {
    stop.abort(); // what is still on its way is of no use now
    throw error;
  }
}

class Classifier {
  constructor(ort, session, facts) {
    Object.assign(this, { ort, session, facts });
  }

  /** {square, probabilities, familiarity, evidence: {data, height, width, of(class)}} of a photo; the last two where the model has them. */
  async answer(photo) {
    const { size, method } = this.facts.preprocessing;
    const square = await readPhoto(photo, size, method);
    const input = new this.ort.Tensor("float32", toInput(square), [1, 3, size, size]);
    const outputs = await this.session.run({ [this.session.inputNames[0]]: input });
    const probabilities = outputs.probabilities.data;
    const [, , height, width] = outputs.evidence?.dims ?? [];
    const maps = outputs.evidence?.data;
    const evidence = maps && { height, width, of: (index) => maps.subarray(index * height * width, (index + 1) * height * width) };
    return { square, probabilities, familiarity: outputs.familiarity?.data[0], evidence };
  }
}

/** A photo as RGB bytes of a square. `photo`: a file, or a canvas. Throws `BadPhoto` with the reason. */
export async function readPhoto(photo, size, method) {
  if (!(photo instanceof Blob)) return fit(ofBitmap(photo), size, method);
  if (photo.size > MAX_BYTES) throw new BadPhoto(`it has more than ${MAX_BYTES / 1e6} megabytes`);
  const bytes = new Uint8Array(await bytesOf(photo));
  const about = inspect(bytes);
  const bitmap = await decoded(photo, bytes, about);
  try {
    const source = ofBitmap(bitmap);
    // As `decode_photo`: a large, upright JPEG in color is shrunk while it is decoded.
    const plain = about.kind === "JPEG" && about.channels === 3 && about.orientation === 1;
    const factor = plain ? draftFactor(bitmap.width, bitmap.height, size) : 1;
    return fit(factor > 1 ? reduced(source, factor) : source, size, method);
  } finally {
    bitmap.close?.();
  }
}

async function bytesOf(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new BadPhoto("it cannot be read; is it a folder, or has it been moved?");
  }
}

/**
 * The picture upright, with the colors of the file: Python does not apply color profiles either.
 * Browsers turn a JPEG and a PNG as their EXIF note says, but not a WebP: that is done here, and the note is made unreadable before,
 * in case that they learn it.
 */
async function decoded(file, bytes, { exif, orientation }) {
  if (exif) bytes.fill(0, exif, exif + 4);
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const photo = exif ? new Blob([bytes]) : file;
  try {
    const bitmap = await createImageBitmap(photo, options).catch((error) => {
      if (error instanceof TypeError) return createImageBitmap(photo); // a browser that does not know the options
      throw error;
    });
    return exif ? turned(bitmap, orientation) : bitmap;
  } catch {
    throw new BadPhoto("it is damaged, or too large for this browser");
  }
}

/** A bitmap turned and mirrored by the number of an EXIF note. */
function turned(bitmap, orientation) {
  const { width: w, height: h } = bitmap;
  const moves = { 2: [-1, 0, 0, 1, w, 0], 3: [-1, 0, 0, -1, w, h], 4: [1, 0, 0, -1, 0, h], 5: [0, 1, 1, 0, 0, 0],
    6: [0, 1, -1, 0, h, 0], 7: [0, -1, -1, 0, h, w], 8: [0, -1, 1, 0, 0, w] };
  if (!moves[orientation]) return bitmap;
  const [width, height] = orientation > 4 ? [h, w] : [w, h];
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.setTransform(...moves[orientation]);
  context.drawImage(bitmap, 0, 0);
  return canvas;
}

/** The pixels of a bitmap or canvas as a source for `fit`, on white where it is transparent. */
function ofBitmap(bitmap) {
  const { width, height } = bitmap;
  const canvas = document.createElement("canvas");
  const rows = (first, last) => {
    if (canvas.width !== width || canvas.height < last - first) Object.assign(canvas, { width, height: last - first });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = false;
    context.fillStyle = "white";
    context.fillRect(0, 0, width, canvas.height);
    context.drawImage(bitmap, 0, first, width, last - first, 0, 0, width, last - first);
    return context.getImageData(0, 0, width, last - first).data;
  };
  if (!tellsTheTruth()) throw new BadPhoto("this browser hides the pixels of pictures from pages, so it cannot be answered here");
  return { width, height, rows };
}

/** Some browsers falsify what a page reads from a canvas, against tracking. Then no answer is better than a wrong one. */
function tellsTheTruth() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "rgb(20, 90, 200)";
  context.fillRect(0, 0, 8, 8);
  return context.getImageData(0, 0, 8, 8).data.every((value, i) => Math.abs(value - [20, 90, 200, 255][i % 4]) <= 3);
}
