// Publishing. A publish whose answer was lost is repeated under the same idempotency key, so that it happens once.

import { channelUrl } from "./address.js";
import { backoff, pause } from "./backoff.js";
import { Costs } from "./costs.js";
import { ConnectionLost } from "./faults.js";
import { ask, bodyOf } from "./request.js";

const TRIES = 6;

/**
 * Publishes and returns the position. Text goes as text, bytes as bytes, and any other value as JSON.
 *
 * `key` is the publication's own key, `type` its content type where it is another, `tries` how often to try in all.
 */
export async function publish(url, channel, data, options = {}) {
  const { key, type, idempotencyKey = freshKey(), tries = TRIES, meter = new Costs().of("publish"), signal } = options;
  const headers = { "content-type": type ?? typeOf(data), "idempotency-key": idempotencyKey };
  if (key !== undefined) headers["bongsu-key"] = key;
  const body = isPlain(data) ? data : JSON.stringify(data);
  for (let failures = 1; ; failures += 1) {
    try {
      const response = await ask(meter, channelUrl(url, channel), { method: "POST", headers, body, signal });
      return JSON.parse(await bodyOf(meter, response)).position;
    } catch (fault) {
      if (!(fault instanceof ConnectionLost) || failures >= tries || signal?.aborted) throw fault;
      await pause(fault.retryMs ?? backoff(failures, options.backoff), signal);
    }
  }
}

/** A publication as the native protocol takes it: there, too, a string is text and anything else is JSON. */
export function nativeForm(data, { key, type, idempotencyKey } = {}) {
  const bytes = isBytes(data);
  return {
    data: bytes ? base64Of(new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength)) : data,
    base64: bytes || undefined,
    type: type ?? (bytes ? typeOf(data) : undefined),
    key,
    idempotency_key: idempotencyKey,
  };
}

/** A key that nobody else has. `crypto.randomUUID` is only there over TLS and on loopback. */
export function freshKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function typeOf(data) {
  if (isBytes(data)) return "application/octet-stream";
  return typeof data === "string" ? "text/plain;charset=utf-8" : "application/json";
}

function isPlain(data) {
  return typeof data === "string" || isBytes(data);
}

function isBytes(data) {
  return data instanceof ArrayBuffer || ArrayBuffer.isView(data);
}

function base64Of(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
