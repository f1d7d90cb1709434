// From the network's numbers to words and pictures. Arithmetic and text only: it needs no browser.

/** A class as a reader would write it: "basset_hound" is "Basset Hound". */
export function readable(name) {
  return name.replaceAll("_", " ").replace(/(^| )\p{L}/gu, (letter) => letter.toUpperCase());
}

/** The name with "a" or "an" before it. */
export function withArticle(name) {
  return `${/^[aeiou]/i.test(name) ? "an" : "a"} ${name}`;
}

/** A share in percent; what is not quite nothing or not quite all is not rounded to it. */
export function percent(share) {
  if (share > 0 && share < 0.005) return "under 1 %";
  if (share < 1 && share > 0.995) return "over 99 %";
  return `${Math.round(share * 100)} %`;
}

/**
 * What to say to one photo.
 * `numbers`: {probabilities: C shares, familiarity: a number or undefined}; `facts`: as in model.json.
 * Gives {kind: "stranger", "unsure" or "answer", top: the five best as {index, name, probability}, group, said, more}.
 */
export function verdict({ probabilities, familiarity }, { classes, thresholds = {}, groups = {} }) {
  const top = Array.from(probabilities, (probability, index) => ({ index, name: readable(classes[index]), probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, 5);
  const [best, second] = top;
  const group = Object.keys(groups).find((name) => groups[name].includes(classes[best.index]));
  const known = Object.keys(groups).map(withArticle).join(" or ");
  if (familiarity !== undefined && familiarity < (thresholds.familiarity ?? -Infinity)) {
    const more = `If it had to be one of the ${classes.length} breeds, it would be one of these.`;
    return { kind: "stranger", top, said: `This does not look like ${known || "anything I know"} to me.`, more };
  }
  const species = group && groupShare(probabilities, classes, groups[group]);
  const sum = group ? `All ${group} breeds together: ${percent(species)}.` : "";
  if (best.probability < (thresholds.probability ?? 0)) {
    const said = `Not sure: it may be ${withArticle(best.name)}, or ${withArticle(second.name)}.`;
    return { kind: "unsure", top, group, said, more: sum };
  }
  return { kind: "answer", top, group, said: group ? `${best.name}, a ${group}` : best.name, more: sum };
}

function groupShare(probabilities, classes, members) {
  return members.reduce((sum, name) => sum + probabilities[classes.indexOf(name)], 0);
}

/**
 * A map of evidence (height x width numbers) as size x size shares in [0, 1]: what speaks against the class counts as nothing, the
 * strongest field is 1, and between the fields' centers it goes evenly. null where nothing speaks for the class.
 */
export function spread(map, height, width, size) {
  const strongest = Math.max(...map);
  if (!(strongest > 0)) return null;
  const shares = Array.from(map, (value) => Math.max(0, value) / strongest);
  const places = (length) =>
    Array.from({ length: size }, (_, i) => {
      const at = Math.min(Math.max(((i + 0.5) * length) / size - 0.5, 0), length - 1);
      const first = Math.min(Math.floor(at), Math.max(length - 2, 0));
      return { first, next: Math.min(first + 1, length - 1), share: at - first };
    });
  const across = places(width);
  const out = new Float32Array(size * size);
  places(height).forEach((row, y) => {
    across.forEach((column, x) => {
      const along = (line) => shares[line * width + column.first] * (1 - column.share) + shares[line * width + column.next] * column.share;
      out[y * size + x] = along(row.first) * (1 - row.share) + along(row.next) * row.share;
    });
  });
  return out;
}
