// What each transport costs: requests, handshakes, bytes. Bodies and messages are counted as they are. What a browser does not
// show to a page (its request headers, the framing around chunks, events and frames) is estimated as HTTP/1.1 writes it, from
// what is known, and kept apart. Not counted: TCP, TLS, WebSocket pings, and what compression saves on streams and frames.

/** The costs of all transports. */
export class Costs {
  #meters = new Map();
  #running;

  /** The meter of a transport. */
  of(transport) {
    if (!this.#meters.has(transport)) this.#meters.set(transport, new Meter());
    return this.#meters.get(transport);
  }

  /** Has the time run for this transport, and for no other; for none, if there is none. */
  run(transport) {
    this.#running?.stop();
    this.#running = transport && this.of(transport);
    this.#running?.start();
  }
}

/** What one transport costs. */
export class Meter {
  requests = 0;
  /** Connections or streams that were opened to stay. */
  handshakes = 0;
  /** Publications that came. */
  publications = 0;
  bodyUp = 0;
  bodyDown = 0;
  /** Estimates. */
  headersUp = 0;
  headersDown = 0;
  #ranMs = 0;
  #since;

  get up() {
    return this.bodyUp + this.headersUp;
  }

  get down() {
    return this.bodyDown + this.headersDown;
  }

  /** How long it was in use. */
  get ms() {
    return this.#ranMs + (this.#since === undefined ? 0 : performance.now() - this.#since);
  }

  start() {
    this.#since = performance.now();
  }

  stop() {
    this.#ranMs = this.ms;
    this.#since = undefined;
  }

  publication() {
    this.publications += 1;
  }

  handshake() {
    this.handshakes += 1;
  }

  /** A request went out. */
  asked(method, url, headers, body) {
    this.requests += 1;
    const bytes = bytesIn(body);
    const more = method === "POST" ? { origin: url.origin, "content-length": bytes } : {};
    this.bodyUp += bytes;
    this.headersUp += headBytes(`${method} ${url.pathname}${url.search} HTTP/1.1`, { ...browserHeaders(url), ...headers, ...more });
  }

  /** The head of an answer came. */
  answered({ status, statusText, headers }) {
    this.headersDown += headBytes(`HTTP/1.1 ${status} ${statusText}`, Object.fromEntries(headers));
  }

  /** A body, or a part of one. */
  received(bytes) {
    this.bodyDown += bytes;
  }

  /** A part of a body that comes in chunks. */
  receivedChunk(bytes) {
    this.bodyDown += bytes;
    this.headersDown += chunkBytes(bytes);
  }

  /** An EventSource was opened: neither its request nor the head of its answer can be seen. */
  askedForEvents(url) {
    this.asked("GET", url, { accept: "text/event-stream", "cache-control": "no-cache" });
    this.headersDown += headBytes("HTTP/1.1 200 OK", EVENTS_ANSWER);
  }

  /** An event came; its data is the body, and the rest its framing. */
  receivedEvent({ type, data, lastEventId }) {
    const body = bytesIn(data);
    const framing = `id: ${lastEventId}\ndata: \n\n`.length + (type === "message" ? 0 : `event: ${type}\n`.length);
    this.bodyDown += body;
    this.headersDown += framing + chunkBytes(body + framing);
  }

  /** A WebSocket was opened: of its handshake, nothing can be seen. */
  upgraded(url, subprotocol) {
    this.requests += 1;
    const asked = { ...browserHeaders(url), ...UPGRADE_REQUEST, origin: url.origin, "sec-websocket-protocol": subprotocol };
    this.headersUp += headBytes(`GET ${url.pathname}${url.search} HTTP/1.1`, asked);
    this.headersDown += headBytes("HTTP/1.1 101 Switching Protocols", { ...UPGRADE_ANSWER, "sec-websocket-protocol": subprotocol });
  }

  sentFrame(text) {
    const bytes = bytesIn(text);
    this.bodyUp += bytes;
    this.headersUp += frameHeadBytes(bytes) + MASK_BYTES;
  }

  receivedFrame(text) {
    const bytes = bytesIn(text);
    this.bodyDown += bytes;
    this.headersDown += frameHeadBytes(bytes);
  }
}

/** A head: each line with its end, and the empty line. */
function headBytes(first, headers) {
  const lines = Object.entries(headers).map(([name, value]) => name.length + 2 + String(value).length + 2);
  return lines.reduce((sum, bytes) => sum + bytes, first.length + 2) + 2;
}

/** What a browser adds to each request on its own. */
function browserHeaders(url) {
  const { userAgent = "", languages = [] } = globalThis.navigator ?? {};
  return {
    host: url.host,
    connection: "keep-alive",
    "user-agent": userAgent,
    accept: "*/*",
    "accept-encoding": "gzip, deflate, br, zstd",
    "accept-language": languages.join(","),
    "sec-fetch-dest": "empty",
    "sec-fetch-mode": "cors",
    "sec-fetch-site": "same-origin",
  };
}

/** RFC 9112, 7.1: the size in hexadecimal, and two line ends. */
function chunkBytes(bytes) {
  return bytes.toString(16).length + 4;
}

/** RFC 6455, 5.2. */
function frameHeadBytes(bytes) {
  if (bytes < 126) return 2;
  return bytes < 65_536 ? 4 : 10;
}

function bytesIn(data) {
  if (data === undefined) return 0;
  return typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
}

const MASK_BYTES = 4;

const UPGRADE_REQUEST = {
  connection: "Upgrade",
  upgrade: "websocket",
  pragma: "no-cache",
  "cache-control": "no-cache",
  "sec-websocket-version": "13",
  "sec-websocket-key": "x".repeat(24),
  "sec-websocket-extensions": "permessage-deflate; client_max_window_bits",
};

const UPGRADE_ANSWER = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-accept": "x".repeat(28) };

const EVENTS_ANSWER = {
  "content-type": "text/event-stream",
  "cache-control": "no-store, no-transform",
  "x-accel-buffering": "no",
  vary: "Accept, Prefer",
  "transfer-encoding": "chunked",
};
