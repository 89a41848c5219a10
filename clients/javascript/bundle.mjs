// Answers from a bundle, by its own manifest: see README.md in the bundle for the rules.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { readArrays } from "./arrays.mjs";
import { instantOf } from "./times.mjs";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Check every hash, then open. */
export async function open(folder) {
  const sealed = await readFile(join(folder, "manifest.json"));
  const seal = await readFile(join(folder, "manifest.json.sha256"), "utf8");
  if (seal.split(/\s/)[0] !== sha256(sealed)) throw new Error("manifest.json was changed");
  const manifest = JSON.parse(sealed);
  const content = {};
  for (const [name, wanted] of Object.entries(manifest.files)) {
    if (!/^[\w.-]+$/.test(name) || name.startsWith("..")) throw new Error(`${name} may lie outside of the bundle`);
    content[name] = await readFile(join(folder, name));
    if (sha256(content[name]) !== wanted) throw new Error(`${name} was changed`);
  }
  const words = JSON.parse(content["vocabulary.json"]);
  const { requests: golden, placements = [] } = JSON.parse(content["golden.json"]);
  if (manifest.scorer !== "onnx" && !SCORES[manifest.scorer]) throw new Error(`the program ${manifest.scorer} is shopkeeper's own: its README names it, not its code`);
  if (manifest.scorer !== "onnx") return new Bundle(manifest, words, { golden, placements }, null, readArrays(content["arrays.npz"]));
  if (content["arrays.npz"]) throw new Error("the own items of this model are scored by a program of shopkeeper's");
  const { default: ort } = await import("onnxruntime-node");
  const session = await ort.InferenceSession.create(content["model.onnx"], { logSeverityLevel: 3 });
  return new Bundle(manifest, words, { golden, placements }, { ort, session }, null);
}

class Bundle {
  constructor(manifest, words, known, graph, arrays) {
    Object.assign(this, { manifest, words, ...known, graph, arrays });
    this.number = new Map((words.item_ids ?? []).map((id, i) => [id, i + 1]));
    this.channel = new Map(words.channels.map((name, i) => [name, i + 1]));
    if (manifest.pairs) throw new Error("this client says one thing of a customer, not one of each category or item");
    if (manifest.preprocessing.queries) throw new Error("this client reads no searches");
  }

  /** One answer, as golden.json holds it. */
  async answer(request) {
    const { kind, k } = this.manifest;
    const reads = ["id", "history", "as_of", ...(kind === "recommender" ? ["k", "filter_seen", "exclude"] : [])];
    const strange = Object.keys(request).find((key) => request[key] != null && !reads.includes(key));
    if (strange) throw new Error(`this client reads no ${strange}, only ${reads.join(", ")}`);
    if (request.k != null && !(Number.isInteger(request.k) && request.k >= 1 && request.k <= k)) throw new Error(`k must be a whole number from 1 to ${k}`);
    const events = this.#events(request);
    return this.manifest.kind === "recommender" ? this.#list(request, events) : this.#customer(request, events);
  }

  #events(request) {
    const { preprocessing: told, history: rules } = this.manifest;
    const zone = rules.time_zone;
    if (!Array.isArray(request.history)) throw new Error("history must be a list of events");
    if (rules.needs_instant && !request.as_of) throw new Error("as_of must say when it is asked");
    let events = request.history.map((one) => {
      let event = typeof one === "string" ? { item_id: one } : one;
      if (Array.isArray(one)) event = Object.fromEntries(one.map((value, n) => [told.event_columns[n], value]));
      const type = told.event_codes[event.event_type ?? rules.usual_type];
      if (typeof event.item_id !== "string" || !type) throw new Error(`${JSON.stringify(one)} is no event`);
      if (rules.needs_time && !event.timestamp) throw new Error(`${JSON.stringify(one)} has no timestamp`);
      const time = event.timestamp ? instantOf(event.timestamp, zone) : null;
      const channel = this.channel.get(event.channel) ?? 0;
      return { item: this.#item(event.item_id), type, time, price: event.price ?? 0, quantity: event.quantity, channel };
    });
    if (events.every((e) => e.time !== null)) events.sort((a, b) => a.time - b.time); // stable
    if (!request.as_of) return events;
    const now = instantOf(request.as_of, zone);
    return events.filter((e) => e.time === null || e.time < now);
  }

  /** The number of an id, also in another spelling; 0: nobody knows it. */
  #item(id) {
    const found = this.number.get(id);
    if (found) return found;
    const { unicode, stripped, same } = this.manifest.preprocessing.ids;
    const letters = [...id.normalize(unicode)];
    while (letters.length && stripped.includes(letters[0])) letters.shift();
    while (letters.length && stripped.includes(letters.at(-1))) letters.pop();
    const text = letters.join("");
    const whole = new RegExp(same[0].matches).exec(text)?.[1];
    return this.number.get(whole ?? (new RegExp(same[1].matches).test(text) ? plain(text) : text)) ?? 0;
  }

  async #list(request, events) {
    const { manifest, words } = this;
    const { history: rules, preprocessing: told } = manifest;
    const types = rules.event_types && new Set(rules.event_types.map((name) => told.event_codes[name]));
    let read = events.filter((e) => e.item && (!words.known || words.known[e.item - 1]) && (!types || types.has(e.type)));
    if (rules.max_length !== null) read = read.slice(-rules.max_length);
    const hidden = (request.filter_seen ?? manifest.filter_seen) ? events.map((e) => e.item).filter(Boolean) : [];
    hidden.push(...(request.exclude ?? []).map((id) => this.#item(id)).filter(Boolean));
    const { items, scores } = this.graph
      ? await this.#run(request, read, { exclude: hidden.length ? hidden : [0] })
      : best(SCORES[manifest.scorer](this.arrays, read, told.day), this.arrays.catalogue, new Set(hidden), manifest.k);
    const listed = [];
    for (let n = 0; n < Math.min(items.length, request.k ?? manifest.k); n++) {
      const item = Number(items[n]);
      if (item > 0) listed.push({ item_id: words.item_ids[item - 1], score: scores[n] });
    }
    const reason = read.length ? "" : told.empty;
    return { items: listed, reason: listed.length ? reason : (told.nothing ?? "") };
  }

  async #customer(request, events) {
    const { manifest } = this;
    const { preprocessing: told, active_days: days, history: rules } = manifest;
    if (manifest.session) throw new Error("this client cuts no sessions; ask `shopkeeper answer` or `shopkeeper serve`");
    const tasks = Object.entries(manifest.further ?? {});
    const says = (value, reason, found = {}) => ({
      [manifest.answers === "probabilities" ? "probability" : "expected"]: value,
      ...(found.quantiles ? { quantiles: found.quantiles } : {}),
      ...(tasks.length ? { further: Object.fromEntries(tasks.map(([name], n) => [name, found.further?.[n] ?? null])) } : {}),
      reason,
    });
    if (!events.length) return says(null, told.empty);
    const now = instantOf(request.as_of, rules.time_zone);
    const wanted = manifest.active_events.map((name) => told.event_codes[name]);
    const first = days === null ? -Infinity : now - Math.round(days * told.day);
    if (wanted.length && !events.some((e) => wanted.includes(e.type) && e.time >= first)) {
      const span = days === null ? "time" : `${days} days`;
      return says(null, `no ${manifest.active_events.join(" / ")} in the ${span} before the cutoff`);
    }
    const steps = told.inputs.lines ? baskets(events, this.words.columns) : events;
    const newest = rules.max_length === null ? steps : steps.slice(-rules.max_length);
    const read = newest.map((e) => ({ ...e, item: e.item || this.number.size + 1 }));
    const out = await this.#run(request, read, { since_last: [(now - read.at(-1).time) / told.day] });
    const further = tasks.map(([, task], n) => calibrated(out.further[n], task.calibrator));
    if (!out.hazard) return says(calibrated(out.probability[0], manifest.calibrator), "", { further });
    const { mean, quantiles } = waits(out.hazard, manifest);
    return says(mean, "", { quantiles, further });
  }

  /** What the graph says: name -> array. */
  async #run(request, read, more) {
    const { ort, session } = this.graph;
    const { inputs, day } = this.manifest.preprocessing;
    const { time_zone: zone } = this.manifest.history;
    const gap = (later, sooner) => (later - sooner) / day;
    const columns = {
      history: () => read.map((e) => e.item),
      event_type: () => read.map((e) => e.type),
      price: () => read.map((e) => e.price),
      channel: () => read.map((e) => e.channel),
      amount: () => read.map((e) => e.amount),
      lines: () => read.map((e) => e.lines),
      age: () => read.map((e) => gap(read.at(-1).time, e.time)),
      since: () => read.map((e, n) => gap(e.time, read[Math.max(n - 1, 0)].time)),
      until: () => read.map((e, n) => gap(n + 1 < read.length ? read[n + 1].time : instantOf(request.as_of, zone), e.time)),
    };
    const feeds = {};
    for (const [name, { type, axes }] of Object.entries(inputs)) {
      const own = more[name] ?? columns[name]();
      const values = own.length ? own : [0];
      const data = type === "int64" ? BigInt64Array.from(values, BigInt) : Float32Array.from(values);
      feeds[name] = new ort.Tensor(type, data, axes.length === 1 ? [1] : [1, values.length]);
    }
    const found = await session.run(feeds);
    return Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, tensor.data]));
  }
}

/** Events of one time and type that follow each other are one, with the first one's item. */
function baskets(events, columns) {
  const found = [];
  for (const e of events) {
    const units = columns.includes("quantity") ? Math.abs(e.quantity ?? 1) : 1;
    const amount = columns.includes("price") ? e.price * units : 0;
    const last = found.at(-1);
    if (last?.time === e.time && last.type === e.type) Object.assign(last, { amount: last.amount + amount, lines: last.lines + 1 });
    else found.push({ ...e, amount, lines: 1 });
  }
  return found;
}

/** Quantiles and mean of the days until the next order, from logits of the hazards of equal periods of the window. */
function waits(hazard, { horizon_days: horizon, levels, shift }) {
  const inside = (days) => Math.min(Math.max(days, 0), horizon);
  const period = horizon / hazard.length;
  const ended = [0]; // by the end of each period
  let lasts = 0;
  for (const z of hazard) ended.push(1 - Math.exp((lasts -= Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))))));
  const quantile = (level) => {
    let k = ended.findIndex((p) => p >= level);
    if (k < 0) k = hazard.length;
    const share = ended[k] > ended[k - 1] ? (level - ended[k - 1]) / (ended[k] - ended[k - 1]) : 1;
    return (k - 1 + Math.min(Math.max(share, 0), 1)) * period;
  };
  const quantiles = levels.map((level, n) => inside(quantile(level) + shift.of_quantile[n])).sort((a, b) => a - b);
  const mean = ended.slice(1).reduce((sum, p, k) => sum + (1 - (p + ended[k]) / 2) * period, 0);
  return { mean: inside(mean + shift.of_mean), quantiles };
}

/** What an event weighs by its type and, with a half-life in days, by its age. */
function weighed(a, read, day) {
  const days = a.half_life_days[0];
  return read.map((e) => a.weight_of_type[e.type] * (days > 0 ? 2 ** ((e.time - read.at(-1).time) / (days * day)) : 1));
}

/** Scores of all numbers, from arrays and the events that are read: the programs whose code a bundle's README shows. */
const SCORES = {
  popularity: (a) => a.scores,
  recency(a, read) {
    const scores = Float64Array.from(a.rest);
    read.filter((e) => a.types.includes(e.type)).forEach((e, n) => (scores[e.item] = n + 1));
    return scores;
  },
  personal_frequency(a, read, day) {
    const own = new Map();
    const weight = weighed(a, read, day);
    read.forEach((e, n) => own.set(e.item, (own.get(e.item) ?? 0) + weight[n]));
    const scores = Float64Array.from(a.rest);
    for (const [item, sum] of own) if (sum > 0) scores[item] += 1 + sum;
    return scores;
  },
  item_knn(a, read, day) {
    const scores = new Float64Array(a.fallback.length);
    const weight = weighed(a, read, day);
    read.forEach((e, n) => {
      const since = a.half_life_events[0] > 0 ? 2 ** (-(read.length - 1 - n) / a.half_life_events[0]) : 1;
      for (let at = a.indptr[e.item]; at < a.indptr[e.item + 1]; at++) scores[a.indices[at]] += weight[n] * since * a.values[at];
    });
    return scores.map((score, item) => (score > 0 ? score : a.fallback[item]));
  },
  ease(a, read) {
    const row = new Map([...a.items].map((item, n) => [item, n]));
    const everyTime = a.every_time?.[0] ?? false;
    const seen = new Set();
    const own = []; // items, and how many events came after; unless each time counts, the last time of an item
    const counted = read.filter((e) => a.counts_type[e.type] > 0).reverse();
    counted.forEach((e, n) => row.has(e.item) && (everyTime || !seen.has(e.item)) && seen.add(e.item) && own.push([e.item, n]));
    if (!own.length) return a.fallback;
    const scores = new Float64Array(a.fallback.length);
    const halfLife = a.half_life_events?.[0] ?? 0;
    for (const [item, place] of own) {
      const [weight, first] = [halfLife > 0 ? 2 ** (-place / halfLife) : 1, row.get(item) * a.items.length];
      a.items.forEach((other, n) => (scores[other] += weight * a.weight[first + n]));
    }
    return scores;
  },
};

/** The k best of the catalogue; equal scores: the lower number first. */
function best(scores, catalogue, hidden, k) {
  const shown = [...catalogue].filter((item) => !hidden.has(item)).sort((a, b) => a - b);
  const items = shown.sort((a, b) => scores[b] - scores[a]).slice(0, k); // stable
  return { items, scores: items.map((item) => scores[item]) };
}

function calibrated(raw, calibrator) {
  if (calibrator === null) return raw;
  const { method, parameters } = calibrator;
  if (method === "scale") return raw * parameters.factor[0];
  const clip = (x) => Math.min(Math.max(x, 1e-6), 1 - 1e-6);
  const p = clip(raw);
  if (method === "identity") return p;
  if (method === "isotonic") return clip(between(p, parameters.x, parameters.y));
  const z =
    method === "beta"
      ? parameters.low[0] * Math.log(p) - parameters.high[0] * Math.log1p(-p) + parameters.intercept[0]
      : parameters.slope[0] * (Math.log(p) - Math.log1p(-p)) + parameters.intercept[0];
  return clip(1 / (1 + Math.exp(-Math.min(Math.max(z, -50), 50))));
}

/** Linear between points, flat beyond them. */
function between(x, xs, ys) {
  if (x <= xs[0]) return ys[0];
  const n = xs.findIndex((one) => one >= x);
  if (n < 0) return ys.at(-1);
  return ys[n - 1] + ((ys[n] - ys[n - 1]) * (x - xs[n - 1])) / (xs[n] - xs[n - 1]);
}

/** 1.2345678E+07 -> 12345678; as it is where digits are lost. */
function plain(text) {
  const [mantissa, exponent] = text.split(/[eE]/);
  const [whole, digits = ""] = mantissa.split(".");
  const n = Number(exponent);
  return n > 0 && digits.length >= n && !/[^0]/.test(digits.slice(n)) ? whole + digits.slice(0, n) : text;
}
