/* A product in a page: outputs for all vectors, then the median time of a run, in batches that the clock can tell. */
import { bytes, middle, post, vectors } from "./arrays.mjs";
import { load } from "./model.mjs";

const BATCH_MS = 2;

export async function main() {
  const job = await (await fetch("job.json")).json();
  const given = vectors(await (await fetch("inputs.bin")).arrayBuffer(), job.inputs, job.count);
  const model = await load(fetch("model.wasm"));
  const fill = (values) => Object.entries(values).forEach(([name, array]) => model.inputs[name].set(array));
  const found = [];
  given.forEach((values, index) => {
    if (job.starts[index]) model.reset();
    fill(values);
    model.run();
    job.outputs.forEach(({ name }) => found.push(bytes(model.outputs[name]).slice()));
  });
  await post("outputs", new Blob(found));
  await post("answer", JSON.stringify({ seconds: job.seconds ? timed(() => model.run(), job.seconds) : 0 }));
}

/* Seconds of one run. */
function timed(run, seconds) {
  const batch = (count) => {
    const start = performance.now();
    for (let index = 0; index < count; index++) run();
    return performance.now() - start;
  };
  const warm = performance.now() + seconds * 1000; // engines compile a function better when it has run for a while
  while (performance.now() < warm) run();
  let count = 1;
  while (batch(count) < BATCH_MS) count *= 2;
  const taken = [];
  const end = performance.now() + seconds * 1000;
  do taken.push(batch(count) / count); while (performance.now() < end);
  return middle(taken) / 1000;
}
