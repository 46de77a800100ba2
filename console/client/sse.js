// Server-sent events, by the browser's own EventSource. Its reconnecting is left unused, so that all transports heal alike; and
// it tells neither the cursor before the first event nor why it was refused, so a page is read for both.

import { channelUrl } from "./address.js";
import { ConnectionLost } from "./faults.js";
import { enter, readPage } from "./page.js";

export async function sse(way) {
  await enter(way);
  if (way.signal.aborted) return;
  const refused = await listen(way);
  if (way.bye || way.signal.aborted) return;
  // If there is a reason, this throws it.
  if (refused) await readPage(way);
  throw new ConnectionLost("the event stream broke off");
}

/** Listens to the end, and tells whether it was refused from the first. */
function listen(way) {
  return new Promise((resolve) => {
    const url = channelUrl(way.url, way.channel, { ...way.start, format: "json" });
    way.meter.askedForEvents(url);
    const source = new EventSource(url);
    const end = (refused) => {
      source.close();
      resolve(refused);
    };
    way.signal.addEventListener("abort", () => end(false), { once: true });
    source.onopen = () => {
      way.meter.handshake();
      way.opened();
    };
    source.onerror = () => end(source.readyState === EventSource.CLOSED);
    const hear = (event) => {
      way.meter.receivedEvent(event);
      return JSON.parse(event.data);
    };
    source.onmessage = (event) => way.take(hear(event));
    source.addEventListener("gap", (event) => way.take(hear(event)));
    source.addEventListener("bye", (event) => way.takeBye(hear(event)));
  });
}
