// Long polling: a request that the server answers as soon as there is something, and then the next one.

import { enter, readPage } from "./page.js";

const WAIT_S = 25;

export async function longPoll(way) {
  await enter(way);
  while (!way.signal.aborted && !way.bye) await readPage(way, { waitS: way.options.waitS ?? WAIT_S });
}
