// Polling: a request every few seconds, whether there is something or not.

import { pause } from "./backoff.js";
import { readPage } from "./page.js";

const EVERY_MS = 2000;

export async function poll(way) {
  let held;
  while (!way.signal.aborted) {
    held = await readPage(way, { held });
    if (!held.more) await pause(way.options.pollEveryMs ?? EVERY_MS, way.signal);
  }
}
