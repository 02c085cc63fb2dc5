// What llama.cpp, through node-llama-cpp, makes of a GGUF file: node greedy.mjs FOLDER_OF_NODE_MODULES < request.json > answer.json
//
//   request  {file, prompt, fresh, windows, texts}    ids, the number of new ids, rows of ids to be scored, strings
//   answer   {ids, logprobs, nats, tokens, release}   greedy ids after the prompt; for each, the log-probabilities of all ids of
//                                                     the vocabulary there; nats of each window; ids of each text
//
// No GPU, nothing is built, no network; one thread, which need not wait for a second one to get a core.
import {readFileSync} from "node:fs";
import {join} from "node:path";
import {pathToFileURL} from "node:url";

const {getLlama, LlamaLogLevel} = await import(pathToFileURL(join(process.argv[2], "node-llama-cpp/dist/index.js")));
const {file, prompt, fresh, windows = [], texts = []} = JSON.parse(readFileSync(0, "utf8"));

const llama = await getLlama({gpu: false, build: "never", maxThreads: 1, logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath: file});
const context = await model.createContext({contextSize: 1024, threads: 1});
const sequence = context.getSequence();
const everything = {generateNext: {probabilities: true, options: {temperature: 1, topK: 0, topP: 1, minP: 0}}};

// what may follow each of `ids`, or the last of them alone: maps, id to probability, the likeliest first
async function next(ids, last = false) {
    const said = await sequence.controlledEvaluate(ids.map((id, i) => (last && i < ids.length - 1 ? id : [id, everything])));
    return said.filter((at) => at !== undefined).map((at) => at.next.probabilities);
}

const ids = [], logprobs = [];
for (let [at] = await next(prompt, true); ids.length < fresh; [at] = await next(ids.slice(-1))) {
    ids.push(at.keys().next().value);
    logprobs.push(Array.from({length: at.size}, (_, id) => Math.log(at.get(id))));
}

const nats = [];
for (const row of windows) {
    await sequence.clearHistory();
    const at = await next(row.slice(0, -1));
    nats.push(-row.slice(1).reduce((sum, id, i) => sum + Math.log(at[i].get(id)), 0));
}

const tokens = texts.map((text) => model.tokenize(text));
process.stdout.write(JSON.stringify({ids, logprobs, nats, tokens, release: llama.llamaCppRelease}));
await llama.dispose();
