// A subscription to one channel that heals its own connection and can change its transport at any moment: it always goes on
// from its cursor, so that nothing is missed and nothing comes twice.

import { startOf } from "./address.js";
import { backoff, pause } from "./backoff.js";
import { Costs } from "./costs.js";
import { ConnectionLost, Refused } from "./faults.js";
import { longPoll } from "./long-poll.js";
import { poll } from "./poll.js";
import { freshKey, publish } from "./publish.js";
import { sse } from "./sse.js";
import { stream } from "./stream.js";
import { websocket } from "./websocket.js";

/**
 * Each is a function that lives as long as its connection. It is given a `Way` and tells it what it hears; it returns when the
 * connection ended as agreed, and throws `ConnectionLost` or `Refused` otherwise. When the way's signal is given it ends at once.
 */
const CARRIERS = { websocket, stream, sse, "long-poll": longPoll, poll };

/** The names of the transports. */
export const TRANSPORTS = Object.keys(CARRIERS);

/** A connection that held for so long, or that brought something, is a success: the next failure counts as the first. */
const PROVEN_MS = 5000;

/**
 * Follows a channel. Begins with the next turn of the event loop, so that listeners can be added first:
 *
 *     new Subscription(url, "chat/lobby", { transport: "sse", last: 20 })
 *       .on("publication", ({ data, position, time }) => …)
 *       .on("gap", ({ asked, resumed, reason }) => …)            // what lies between was lost
 *       .on("bye", ({ code, reason, reconnect_ms }) => …)        // the server ends the connection
 *       .on("state", ({ state, transport, waitMs, fault }) => …) // connecting, open, waiting, refused, closed
 *
 * Where to begin is `after` (a cursor), `earliest: true`, `last` (so many) or, by default, what comes next.
 */
export class Subscription {
  #listeners = new Map();
  #start;
  #transport;
  #options;
  #state = "connecting";
  #way;
  #closed = false;
  #failures = 0;
  #bringsForward;

  constructor(url, channel, { transport = "websocket", after, earliest, last, costs = new Costs(), ...options } = {}) {
    this.url = url;
    this.channel = channel;
    this.costs = costs;
    this.cursor = after;
    this.#start = { earliest, last };
    this.#transport = known(transport);
    this.#options = options;
    queueMicrotask(() => this.#run());
  }

  get transport() {
    return this.#transport;
  }

  get state() {
    return this.#state;
  }

  /** Calls the listener with each event of this kind. */
  on(kind, listener) {
    if (!this.#listeners.has(kind)) this.#listeners.set(kind, new Set());
    this.#listeners.get(kind).add(listener);
    return this;
  }

  /** Calls it no longer. */
  off(kind, listener) {
    this.#listeners.get(kind)?.delete(listener);
    return this;
  }

  /** Goes on over another transport, from the cursor. */
  use(transport, options = {}) {
    this.#transport = known(transport);
    Object.assign(this.#options, options);
    this.#failures = 0;
    if (this.#state === "refused") this.#run();
    else this.#interrupt();
  }

  /** Tries again now instead of waiting any longer, for when there is reason to believe that it will work. */
  hurry() {
    if (this.#state === "waiting") this.#bringsForward?.abort();
  }

  /** Publishes to the channel: over the open WebSocket, if that is the transport, else by a request. Returns the position. */
  async publish(data, { idempotencyKey = freshKey(), ...options } = {}) {
    const meter = this.costs.of(this.#transport);
    try {
      if (this.#way?.send) return await this.#way.send(data, { idempotencyKey, ...options });
    } catch (fault) {
      // Whether it was published is not known; under the same key it will not be published again.
      if (!(fault instanceof ConnectionLost)) throw fault;
    }
    return publish(this.url, this.channel, data, { idempotencyKey, meter, ...options });
  }

  /** Ends it for good. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#interrupt();
    this.costs.run(undefined);
    this.#become("closed");
  }

  async #run() {
    while (!this.#closed) {
      const way = (this.#way = new Way(this, this.#transport, this.#options, (kind, event) => this.#hear(way, kind, event)));
      this.costs.run(way.transport);
      this.#become("connecting");
      const fault = await this.#carry(way);
      way.end();
      if (this.#closed) return;
      if (way.interrupted) continue;
      if (fault instanceof Refused) return this.#become("refused", { fault });
      await this.#wait(way, fault);
    }
  }

  /** Lets a transport carry as long as it can. */
  async #carry(way) {
    // A listener that heard of it may already have asked for another.
    if (way.interrupted) return undefined;
    try {
      await CARRIERS[way.transport](way);
    } catch (fault) {
      return fault;
    }
    const { bye } = way;
    return bye?.reconnect_ms === null ? new Refused(bye.reason, { code: bye.code }) : undefined;
  }

  async #wait(way, fault) {
    this.#failures = way.proven(PROVEN_MS) ? 0 : this.#failures + 1;
    const waitMs = way.bye?.reconnect_ms ?? fault?.retryMs ?? backoff(this.#failures, this.#options.backoff);
    this.#bringsForward = new AbortController();
    this.#become("waiting", { waitMs, fault });
    await pause(waitMs, this.#bringsForward.signal);
  }

  #interrupt() {
    this.#way?.interrupt();
    this.#bringsForward?.abort();
  }

  /** Takes what a way says. One that was interrupted says nothing any more, so that it cannot speak beside its successor. */
  #hear(way, kind, event) {
    if (way !== this.#way || way.interrupted) return;
    if (kind === "cursor") this.cursor = event;
    if (kind === "gap") this.cursor = event.resumed;
    if (kind === "publication") this.cursor = event.position;
    if (kind === "open") return this.#become("open");
    if (kind !== "cursor") this.#tell(kind, event);
  }

  #become(state, more = {}) {
    if (this.#state === "closed") return;
    this.#state = state;
    this.#tell("state", { state, transport: this.#way?.transport ?? this.#transport, ...more });
  }

  #tell(kind, event) {
    for (const listener of this.#listeners.get(kind) ?? []) {
      try {
        listener(event, this);
      } catch (fault) {
        // A listener's fault is its own: the next one is called all the same.
        (globalThis.reportError ?? console.error)(fault);
      }
    }
  }

  /** Where a new connection begins. */
  get start() {
    return startOf({ after: this.cursor, ...this.#start });
  }
}

/** One connection's worth of a subscription: what its transport needs to know, and whom it tells. */
class Way {
  #subscription;
  #hear;
  #ending = new AbortController();
  #openedAt;
  #brought = false;

  constructor(subscription, transport, options, hear) {
    this.#subscription = subscription;
    this.#hear = hear;
    this.transport = transport;
    this.options = options;
    this.url = subscription.url;
    this.channel = subscription.channel;
    this.meter = subscription.costs.of(transport);
    this.interrupted = false;
    /** How to publish over this connection, where it can. */
    this.send = undefined;
    /** The server's goodbye. */
    this.bye = undefined;
  }

  get signal() {
    return this.#ending.signal;
  }

  /** Where the subscription stands: `undefined` until the server said. */
  get cursor() {
    return this.#subscription.cursor;
  }

  /** Where to begin, as parameters of a query or a command. */
  get start() {
    return this.#subscription.start;
  }

  /** It works: the server answered. */
  opened() {
    if (this.#openedAt !== undefined) return;
    this.#openedAt = performance.now();
    this.#hear("open");
  }

  /** Takes a record in the form that streams, events and the native protocol share. */
  take(record) {
    if (this.interrupted) return;
    if (record.bye) return this.takeBye(record.bye);
    if (record.gap) return this.#hear("gap", record.gap);
    if (record.cursor) return this.#hear("cursor", record.cursor);
    if (!record.position) return;
    this.#brought = true;
    this.meter.publication();
    this.#hear("publication", { ...record, data: record.base64 ? bytesOf(record.data) : record.data });
  }

  takeBye(bye) {
    this.bye = bye;
    this.#hear("bye", bye);
  }

  /** Ends it, because the subscription wants another, or none. */
  interrupt() {
    this.interrupted = true;
    this.end();
  }

  end() {
    this.send = undefined;
    this.#ending.abort();
  }

  proven(ms) {
    return this.#brought || performance.now() - (this.#openedAt ?? Infinity) >= ms;
  }
}

function known(transport) {
  if (!TRANSPORTS.includes(transport)) throw new TypeError(`there is no transport ${transport}; there are ${TRANSPORTS.join(", ")}`);
  return transport;
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
