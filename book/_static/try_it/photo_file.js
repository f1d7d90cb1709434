// What a file is, by its first bytes and never by its name; sizes are known, and refused, before anything is decoded.
// The same formats and limits as `pets_learn.data.read_photo`.

export const MAX_PIXELS = 120_000_000;
export const MAX_BYTES = 200_000_000;

/** A file that cannot be answered; its message completes the sentence "NAME cannot be used as a photo: ...". */
export class BadPhoto extends Error {}

const EXIF = "Exif\0\0";
const text = (bytes, from, length) => String.fromCharCode(...bytes.subarray(from, from + length));

/**
 * Kind and size of a photo: {kind, width, height}. A JPEG also has {channels, orientation}, a WebP may have {orientation, exif},
 * where `exif` is the place of that chunk.
 * `bytes`: the whole file as Uint8Array. Throws `BadPhoto` with the reason.
 */
export function inspect(bytes) {
  if (!bytes.length) throw new BadPhoto("the file is empty");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let about;
  try {
    about = readHeader(bytes, view);
  } catch (error) {
    if (error instanceof RangeError) throw new BadPhoto("it is cut short or damaged");
    throw error;
  }
  const { width, height } = about;
  if (width * height > MAX_PIXELS) {
    const claimed = `${width.toLocaleString("en")} x ${height.toLocaleString("en")}`;
    throw new BadPhoto(`it claims ${claimed} pixels, more than the limit of ${MAX_PIXELS.toLocaleString("en")}; it was not decoded`);
  }
  if (!(width > 0 && height > 0)) throw new BadPhoto("it is cut short or damaged");
  return about;
}

function readHeader(bytes, view) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return readJpeg(bytes, view);
  if (text(bytes, 0, 8) === "\x89PNG\r\n\x1a\n") return { kind: "PNG", width: view.getUint32(16), height: view.getUint32(20) };
  if (/^GIF8[79]a$/.test(text(bytes, 0, 6))) return { kind: "GIF", width: view.getUint16(6, true), height: view.getUint16(8, true) };
  if (text(bytes, 0, 2) === "BM") return readBmp(view);
  if (text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 4) === "WEBP") return readWebp(bytes, view);
  const brand = text(bytes, 4, 4) === "ftyp" ? text(bytes, 8, 4) : "";
  if (/^(hei|hev|mif|msf|avi)/.test(brand)) {
    throw new BadPhoto("it is a HEIC or AVIF file, which the model's reader does not know; save it as JPEG and try again");
  }
  throw new BadPhoto("it is not a JPEG, PNG, GIF, BMP or WebP file");
}

function readBmp(view) {
  if (view.getUint32(14, true) === 12) return { kind: "BMP", width: view.getUint16(18, true), height: view.getUint16(20, true) };
  return { kind: "BMP", width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
}

function readWebp(bytes, view) {
  const kind = "WebP";
  const form = text(bytes, 12, 4);
  if (form === "VP8 ") return { kind, width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  if (form === "VP8L") {
    const packed = view.getUint32(21, true);
    return { kind, width: (packed & 0x3fff) + 1, height: ((packed >>> 14) & 0x3fff) + 1 };
  }
  if (form !== "VP8X") throw new BadPhoto("it is cut short or damaged");
  const three = (at) => view.getUint16(at, true) + view.getUint8(at + 2) * 65536 + 1;
  const about = { kind, width: three(24), height: three(27) };
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    const start = at + 8 + (text(bytes, at + 8, 6) === EXIF ? 6 : 0);
    if (text(bytes, at, 4) === "EXIF") Object.assign(about, { exif: at, orientation: readOrientation(bytes, start, at + 8 + length) });
    at += 8 + length + (length % 2);
  }
  return about;
}

/** Walk through a JPEG's segments to the start of the picture, then make sure that its end is there. */
function readJpeg(bytes, view) {
  const about = { kind: "JPEG", orientation: 1 };
  let at = 2;
  for (;;) {
    while (view.getUint8(at) !== 0xff) at++;
    while (view.getUint8(at) === 0xff) at++;
    const marker = view.getUint8(at++);
    if (marker === 0xd9) throw new BadPhoto("it is cut short or damaged");
    if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue; // markers without content
    const length = view.getUint16(at);
    if (marker === 0xda) break;
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      Object.assign(about, { height: view.getUint16(at + 3), width: view.getUint16(at + 5), channels: view.getUint8(at + 7) });
    }
    if (marker === 0xe1 && text(bytes, at + 2, 6) === EXIF) about.orientation = readOrientation(bytes, at + 8, at + length);
    at += length;
  }
  if (!about.width || !hasEnd(bytes, at)) throw new BadPhoto("it is cut short or damaged");
  return about;
}

/** Whether the end marker FF D9 stands somewhere after the start of the picture; phones like to add things after it. */
function hasEnd(bytes, from) {
  for (let at = bytes.indexOf(0xff, from); at >= 0; at = bytes.indexOf(0xff, at + 1)) if (bytes[at + 1] === 0xd9) return true;
  return false;
}

/** The EXIF note that says how the camera was held; 1, upright, where there is none or it cannot be read. */
function readOrientation(bytes, from, to) {
  try {
    const exif = new DataView(bytes.buffer, bytes.byteOffset + from, to - from);
    const little = exif.getUint16(0) === 0x4949;
    const folder = exif.getUint32(4, little);
    for (let i = 0, at = folder + 2; i < exif.getUint16(folder, little); i++, at += 12) {
      if (exif.getUint16(at, little) === 0x0112) return exif.getUint16(at + 8, little);
    }
  } catch {
    // a damaged note is no reason to lose the photo
  }
  return 1;
}
