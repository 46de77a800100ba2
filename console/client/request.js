// One request and its answer, counted, bounded in time, and with every way to fail told as one of our faults.

import { ConnectionLost, faultOf } from "./faults.js";

/** How long an answer's head may take to come, beside the time that was asked to wait. */
const TIMEOUT_MS = 15_000;

/** Asks, and returns the good answer. `signal` ends the whole exchange, `timeoutMs` only the wait for the answer's head. */
export async function ask(meter, url, { method = "GET", headers = {}, body, signal, timeoutMs = TIMEOUT_MS } = {}) {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), timeoutMs);
  meter.asked(method, url, headers, body);
  let response;
  try {
    // The browser's own cache would hide what is asked; validators are given by hand where they pay.
    response = await fetch(url, { method, headers, body, cache: "no-store", signal: either(signal, late.signal) });
  } catch (cause) {
    throw new ConnectionLost(late.signal.aborted ? "the server did not answer in time" : "the server could not be reached", { cause });
  } finally {
    clearTimeout(timer);
  }
  meter.answered(response);
  if (!response.ok && response.status !== 304) throw await faultOf(response);
  return response;
}

/** Reads a body whole, and counts it. */
export async function bodyOf(meter, response) {
  try {
    const bytes = await response.arrayBuffer();
    // Where the body was compressed on its way, the length that was told is that of the wire.
    meter.received(Number(response.headers.get("content-length") ?? bytes.byteLength));
    return new TextDecoder().decode(bytes);
  } catch (cause) {
    throw new ConnectionLost("the answer broke off", { cause });
  }
}

function either(one, other) {
  return one ? AbortSignal.any([one, other]) : other;
}
