/* A product and onnxruntime-web in one page: outputs for all vectors, then medians of runs, interleaved. */
import { ARRAYS, bytes, middle, post, vectors } from "./arrays.mjs";
import { load } from "./model.mjs";
import * as ort from "./ort.wasm.min.mjs";

const REST_MS = 10; // in between, for the compiler
const UNTIMED = 2;
const BATCH_MS = 2; // of runs in one sample: some hundred times what the clock can tell
const OURS = "bevel";

export async function main() {
  const job = await (await fetch("job.json")).json();
  const given = vectors(await (await fetch("inputs.bin")).arrayBuffer(), job.inputs, job.count);
  const candidates = { [OURS]: await ours(job) };
  const refused = {};
  for (const name of job.peers) {
    try {
      const run = await theirs(`${name}.onnx`, job);
      await run(given[0]);
      candidates[name] = run;
    } catch (error) {
      refused[name] = String(error).split("\n")[0].slice(0, 160);
    }
  }
  for (const [name, run] of Object.entries(candidates)) {
    const found = [];
    for (const values of given) found.push(...(await run(values)).map((one) => bytes(one)));
    await post(`outputs/${name}`, new Blob(found));
  }
  const microseconds = await medians(candidates, given[0], job);
  await post("answer", JSON.stringify({ microseconds, refused }));
}

/* The product as a function of {name: typed array}: its outputs, copied. */
async function ours(job) {
  const model = await load(fetch("model.wasm"));
  return async (values) => {
    for (const { name } of job.inputs) model.inputs[name].set(values[name]);
    model.reset?.();
    model.run();
    return job.outputs.map(({ name }) => model.outputs[name].slice());
  };
}

/* The same of onnxruntime-web, on one thread. */
async function theirs(file, job) {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
  ort.env.logLevel = "error";
  const model = new Uint8Array(await (await fetch(file)).arrayBuffer());
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  return async (values) => {
    const feeds = {};
    job.inputs.forEach(({ name, type, shape }, place) => {
      feeds[session.inputNames[place]] = new ort.Tensor(type, values[name], shape);
    });
    const results = await session.run(feeds);
    return job.outputs.map(({ type }, place) => ARRAYS[type].from(results[session.outputNames[place]].data));
  };
}

/* {candidate: microseconds of one run}. */
async function medians(candidates, values, { rounds, warm_ms }) {
  const sample = async (run, count) => {
    const start = performance.now();
    for (let index = 0; index < count; index++) await run(values);
    return (performance.now() - start) / count;
  };
  const counts = {};
  for (const [name, run] of Object.entries(candidates)) {
    const warm = performance.now() + warm_ms; // engines optimize what has run for a while, in the background
    while (performance.now() < warm) {
      await sample(run, UNTIMED);
      await new Promise((rest) => setTimeout(rest, REST_MS));
    }
    let count = 1;
    while ((await sample(run, count)) * count < BATCH_MS) count *= 2;
    counts[name] = count;
  }
  const taken = Object.fromEntries(Object.keys(candidates).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of shuffled(Object.keys(candidates))) {
      await sample(candidates[name], UNTIMED);
      taken[name].push(await sample(candidates[name], counts[name]));
    }
  }
  return Object.fromEntries(Object.entries(taken).map(([name, times]) => [name, middle(times) * 1000]));
}

function shuffled(names) {
  for (let place = names.length - 1; place > 0; place--) {
    const other = Math.floor(Math.random() * (place + 1));
    [names[place], names[other]] = [names[other], names[place]];
  }
  return names;
}
