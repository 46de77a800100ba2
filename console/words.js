// Numbers, times and positions as people read them. Used by the conversation and the panel alike.

export const TITLES = { websocket: "WebSocket", stream: "Streaming", sse: "SSE", "long-poll": "Long polling", poll: "Polling" };
export const SHORT_TITLES = { websocket: "WS", stream: "Stream", sse: "SSE", "long-poll": "Long", poll: "Poll" };

/** 812 B, 3.4 kB, 12 MB. */
export function bytes(count) {
  if (count < 1000) return `${Math.round(count)} B`;
  const [size, unit] = count < 1e6 ? [count / 1e3, "kB"] : [count / 1e6, "MB"];
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`;
}

/** 0:07, 12:31. */
export function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** 0.4 s, 12 s. */
export function seconds(ms) {
  return ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}

/** The number of a position within its epoch. */
export function offsetOf(cursor) {
  return Number(cursor.slice(cursor.lastIndexOf("-") + 1));
}

/** A text's last word with a full stop, unless it has its own. */
export function sentence(text) {
  const trimmed = text.trim();
  return /[.!?…]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

/** A new element with text; whatever a peer sent is only ever text. */
export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
