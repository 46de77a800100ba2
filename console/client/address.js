// Where a channel is: its address for HTTP and for WebSocket.

/** The address of a channel, with these parameters in its query. */
export function channelUrl(base, channel, parameters = {}) {
  const path = channel.split("/").map(encodeURIComponent).join("/");
  const url = new URL(`channels/${path}`, base);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

/** The same for WebSocket. */
export function socketUrl(base, channel) {
  const url = channelUrl(base, channel);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

/** Where to begin, as parameters: after a cursor, with what is retained, with the last few, or with what comes next. */
export function startOf({ after, earliest, last }) {
  if (after !== undefined) return { after };
  if (earliest) return { earliest: "" };
  if (last !== undefined) return { last };
  return { live: "" };
}
