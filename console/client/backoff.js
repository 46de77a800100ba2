// How long to wait before trying again: full jitter, so that those who were cut together do not come back together.

const BASE_MS = 500;
const CAP_MS = 20_000;

/** Some time between none and a bound that doubles with each failure in a row, up to a cap. */
export function backoff(failures, { baseMs = BASE_MS, capMs = CAP_MS, random = Math.random } = {}) {
  return random() * Math.min(capMs, baseMs * 2 ** Math.min(failures, 30));
}

/** Waits; less long, if the signal is given before. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
  });
}
