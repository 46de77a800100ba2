// Streaming: one request whose answer never ends, a JSON line each (NDJSON), read as it arrives.

import { channelUrl } from "./address.js";
import { ConnectionLost } from "./faults.js";
import { ask } from "./request.js";

/** The server shows that it is alive every 15 seconds or so; after so long without a sign it is given up. */
const SILENCE_MS = 60_000;

export async function stream(way) {
  const url = channelUrl(way.url, way.channel, way.start);
  const response = await ask(way.meter, url, { headers: { accept: "application/x-ndjson" }, signal: way.signal });
  way.meter.handshake();
  for await (const line of linesOf(response.body, way.meter)) {
    way.take(JSON.parse(line));
    way.opened();
  }
  if (!way.bye) throw new ConnectionLost("the stream ended");
}

/** The lines of a body, as they come. What follows the last line end was cut off, and is passed over: it will come again. */
async function* linesOf(body, meter) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  while (true) {
    const { done, value } = await readBefore(SILENCE_MS, reader);
    if (done) return;
    meter.receivedChunk(value.byteLength);
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    yield* lines;
  }
}

/** The next bytes; what does not come in time is not waited for any longer. */
async function readBefore(ms, reader) {
  const timer = setTimeout(() => reader.cancel(), ms);
  try {
    return await reader.read();
  } catch (cause) {
    throw new ConnectionLost("the stream broke off", { cause });
  } finally {
    clearTimeout(timer);
  }
}
