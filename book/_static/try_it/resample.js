// A photo as the small square that the network takes, byte for byte as `pets_learn.data.fit_photo` makes it with Pillow.
//
// A browser's canvas shrinks photos in its own way, and a network notices. So this is Pillow's bilinear filter: the filter grows
// with the scale, rows first and then columns, each pass with weights of 22 bits and rounded to a byte. (Pillow 13 takes the columns
// first where that is quicker; then a byte here and there differs by one.)
// Everything here is arithmetic on arrays: it needs no browser.
//
// A source is {width, height, rows}: `rows(first, last)` gives the RGBA bytes of the whole rows first to last - 1. It is asked from
// top to bottom in strips, so that a photo of 100 megapixels never lies in memory at once.

const BITS = 22; // Pillow's PRECISION_BITS: 32 less 8 for the byte and 2 for the sum
const STRIP = 64; // rows at a time

/** The source of an RGBA array that is there already. */
export function fromArray(rgba, width, height) {
  return { width, height, rows: (first, last) => rgba.subarray(first * width * 4, last * width * 4) };
}

/** The middle square as Pillow's `ImageOps.fit` cuts it: [left, top, right, bottom] in pixels, fractions allowed. */
export function middleSquare(width, height) {
  const side = Math.min(width, height);
  const left = (width - side) * 0.5;
  const top = (height - side) * 0.5;
  return [left, top, left + side, top + side];
}

/** For each of `size` outputs along one axis: the first input, and the weights of it and those after it, as whole numbers. */
export function weights(length, from, to, size) {
  const start = Math.fround(from); // Pillow keeps the box in single precision
  const scale = Math.fround(Math.fround(to) - start) / size;
  const stretch = Math.max(scale, 1); // the filter of a smaller picture covers more pixels: that is the antialiasing
  const found = [];
  for (let i = 0; i < size; i++) {
    const center = start + (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - stretch + 0.5), 0);
    const last = Math.min(Math.trunc(center + stretch + 0.5), length);
    const shares = [];
    for (let x = first; x < last; x++) shares.push(Math.max(0, 1 - Math.abs((x - center + 0.5) / stretch)));
    const total = shares.reduce((sum, share) => sum + share, 0);
    const whole = shares.map((share) => Math.trunc(0.5 + (total ? share / total : share) * 2 ** BITS));
    found.push({ first, whole: Int32Array.from(whole) });
  }
  return found;
}

/** The part `box` of a source as width x height pixels: RGB bytes, row by row. */
export function resize(source, box, width, height) {
  const across = weights(source.width, box[0], box[2], width);
  const down = weights(source.height, box[1], box[3], height);
  const top = down[0].first;
  const bottom = Math.max(...down.map(({ first, whole }) => first + whole.length));
  const narrow = new Uint8Array((bottom - top) * width * 3);
  for (let first = top; first < bottom; first += STRIP) {
    const last = Math.min(first + STRIP, bottom);
    const rows = source.rows(first, last);
    for (let y = first; y < last; y++) shrinkRow(rows, (y - first) * source.width * 4, across, narrow, (y - top) * width * 3);
  }
  return shrinkColumns(narrow, width * 3, down, top);
}

function shrinkRow(rows, from, across, out, to) {
  for (const { first, whole } of across) {
    let red = 2 ** (BITS - 1), green = red, blue = red; // a half: the sum is rounded, not cut
    for (let k = 0, at = from + first * 4; k < whole.length; k++, at += 4) {
      const weight = whole[k];
      red += weight * rows[at];
      green += weight * rows[at + 1];
      blue += weight * rows[at + 2];
    }
    out[to++] = red >> BITS;
    out[to++] = green >> BITS;
    out[to++] = blue >> BITS;
  }
}

function shrinkColumns(narrow, stride, down, top) {
  const out = new Uint8Array(down.length * stride);
  down.forEach(({ first, whole }, y) => {
    for (let x = 0; x < stride; x++) {
      let sum = 2 ** (BITS - 1);
      for (let k = 0, at = (first - top) * stride + x; k < whole.length; k++, at += stride) sum += whole[k] * narrow[at];
      out[y * stride + x] = sum >> BITS;
    }
  });
  return out;
}

/** How far `pets_learn` lets the JPEG decoder itself shrink a large photo before it resizes it: by 8, 4, 2 or 1. */
export function draftFactor(width, height, size) {
  const room = Math.min(Math.floor(width / size), Math.floor(height / size));
  return [8, 4, 2, 1].find((factor) => room >= factor) ?? 1;
}

/** A source shrunk by 2, 4 or 8: each pixel is the mean of a block, which is what a JPEG decoder gives at that scale. */
export function reduced(source, factor) {
  const width = Math.ceil(source.width / factor);
  const height = Math.ceil(source.height / factor);
  const rows = (first, last) => {
    const out = new Uint8ClampedArray((last - first) * width * 4);
    const end = Math.min(last * factor, source.height);
    const large = source.rows(first * factor, end);
    for (let y = first; y < last; y++) {
      const lines = [];
      for (let line = y * factor; line < Math.min((y + 1) * factor, source.height); line++) {
        lines.push((line - first * factor) * source.width * 4);
      }
      for (let x = 0; x < width; x++) {
        const left = x * factor * 4;
        const right = Math.min(left + factor * 4, source.width * 4);
        let red = 0, green = 0, blue = 0;
        for (const line of lines) {
          for (let at = line + left; at < line + right; at += 4) {
            red += large[at];
            green += large[at + 1];
            blue += large[at + 2];
          }
        }
        const count = lines.length * ((right - left) / 4);
        const to = ((y - first) * width + x) * 4;
        out[to] = red / count; // a clamped array rounds
        out[to + 1] = green / count;
        out[to + 2] = blue / count;
      }
    }
    return out;
  };
  return { width, height, rows };
}

/** Python's `round`: halves go to the even neighbor. */
function roundHalfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

/** The photo as a square of `size` pixels, RGB bytes row by row: as `fit_photo` with "crop", "squash" or "pad". */
export function fit(source, size, method) {
  const { width, height } = source;
  if (method === "crop") return resize(source, middleSquare(width, height), size, size);
  if (method === "squash") return resize(source, [0, 0, width, height], size, size);
  if (method !== "pad") throw new Error(`the model asks for the method ${method}, which this page does not know`);
  const scale = size / Math.max(width, height);
  const inside = [width, height].map((side) => Math.max(1, roundHalfEven(side * scale)));
  const small = resize(source, [0, 0, width, height], ...inside);
  const [left, top] = inside.map((side) => Math.floor((size - side) / 2));
  const square = new Uint8Array(size * size * 3);
  for (let y = 0; y < inside[1]; y++) {
    square.set(small.subarray(y * inside[0] * 3, (y + 1) * inside[0] * 3), ((y + top) * size + left) * 3);
  }
  return square;
}

/** RGB bytes of a square, row by row, as the network takes them: float32 in [0, 1], all red, then all green, then all blue. */
export function toInput(square) {
  const count = square.length / 3;
  const input = new Float32Array(square.length);
  for (let i = 0; i < count; i++) for (let c = 0; c < 3; c++) input[c * count + i] = square[i * 3 + c] / 255;
  return input;
}
