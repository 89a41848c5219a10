// node verify.mjs BUNDLE: answers its golden requests and says how many answers differ.

import { open } from "./bundle.mjs";

const bundle = await open(process.argv[2]).catch((refused) => {
  console.error(`error: ${refused.message}`);
  process.exit(1);
});
const { score, rank, probability, expected = probability, further, days } = bundle.manifest.preprocessing.tolerance;

function difference(got, wanted) {
  if (got.reason !== wanted.reason) return `reason "${got.reason}" instead of "${wanted.reason}"`;
  if (!wanted.items) {
    const [name] = ["probability", "expected"].filter((key) => key in wanted);
    const near = (a, b, within) =>
      a === b || (typeof a === "number" && b !== null && Math.abs(a - b) <= within * Math.max(1, Math.abs(b)));
    const within = name === "expected" ? expected : probability; // of older bundles one for both
    if (!near(got[name], wanted[name], within)) return `${name} ${got[name]} instead of ${wanted[name]}`;
    for (const [task, right] of Object.entries(wanted.further ?? {})) {
      if (!near(got.further[task], right, further)) return `${task} ${got.further[task]} instead of ${right}`;
    }
    for (const [n, right] of (wanted.quantiles ?? []).entries()) {
      if (!(Math.abs(got.quantiles[n] - right) <= days)) return `${got.quantiles[n]} days instead of ${right}`;
    }
    return "";
  }
  if (got.items.length !== wanted.items.length) return `${got.items.length} items instead of ${wanted.items.length}`;
  if (new Set(got.items.map((one) => one.item_id)).size !== got.items.length) return "an item is shown twice";
  const known = new Map(wanted.items.map((one) => [one.item_id, one.score]));
  for (const [n, right] of wanted.items.entries()) {
    const [one, scale] = [got.items[n], Math.max(1, Math.abs(right.score))];
    if (!(Math.abs(one.score - right.score) <= score * scale)) return `score ${one.score} instead of ${right.score}`;
    const tie = Math.abs((known.get(one.item_id) ?? one.score) - right.score) <= rank * scale;
    if (one.item_id !== right.item_id && !tie) return `${one.item_id} instead of ${right.item_id}`;
  }
  return "";
}

const wrong = [];
for (const [n, { expected: wanted, ...request }] of bundle.golden.entries()) {
  const said = difference(await bundle.answer(request), wanted);
  if (said) wrong.push(`golden request ${n}: ${said}`);
}
const left = bundle.placements.length ? `; ${bundle.placements.length} of placements are not asked here` : "";
console.log(`${bundle.golden.length} golden requests, ${wrong.length} answered differently${left}`);
for (const line of wrong) console.log(line);
process.exitCode = wrong.length ? 1 : 0;
