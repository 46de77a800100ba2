// A page of a channel: what polls and long polls are answered with, and how a subscription without a cursor gets its first.

import { channelUrl } from "./address.js";
import { retryAfter } from "./faults.js";
import { ask, bodyOf } from "./request.js";

const WAIT_MARGIN_MS = 10_000;

/**
 * Reads the next page and tells the way what is on it. `waitS` makes it a long poll. `held` is what this returned before: where
 * the same is asked again, the server may answer that nothing has changed.
 */
export async function readPage(way, { waitS, held } = {}) {
  const url = channelUrl(way.url, way.channel, { ...way.start, wait: waitS });
  const headers = held?.etag && held.url === url.href ? { "if-none-match": held.etag } : {};
  const timeoutMs = waitS === undefined ? undefined : 1000 * waitS + WAIT_MARGIN_MS;
  const response = await ask(way.meter, url, { headers, signal: way.signal, timeoutMs });
  const page = response.status === 200 ? JSON.parse(await bodyOf(way.meter, response)) : { publications: [], more: false };
  way.opened();
  if (page.gap) way.take({ gap: page.gap });
  for (const publication of page.publications) way.take(publication);
  way.take({ cursor: page.cursor ?? response.headers.get("bongsu-cursor") });
  if (response.status === 204 && retryAfter(response) !== undefined) {
    // A wait that the server ended before its time: it goes away, and says when to come back.
    way.takeBye({ code: 1001, reason: "the server is going away", reconnect_ms: retryAfter(response) });
  }
  return { more: page.more, etag: response.headers.get("etag"), url: url.href };
}

/** Gets a subscription that has no cursor its first, with what there is to read up to it. */
export async function enter(way) {
  if (way.cursor !== undefined) return;
  while ((await readPage(way)).more) continue;
}
