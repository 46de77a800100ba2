// What can go wrong between a client and its server. Every transport throws these.

/** The connection ended, or never came about; trying again may help. */
export class ConnectionLost extends Error {
  name = "ConnectionLost";

  /** `retryMs`: when the server said that it may be tried again. */
  constructor(message, { retryMs, cause } = {}) {
    super(message, { cause });
    this.retryMs = retryMs;
  }
}

/** The server will not do this, however often it is asked. */
export class Refused extends Error {
  name = "Refused";

  /** `code`: the fault's name, as the server gives it. */
  constructor(message, { status, code } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The fault that an answer other than a good one tells (a problem document, RFC 9457, or whatever a proxy says). */
export async function faultOf(response) {
  const problem = await response.json().catch(() => ({}));
  const message = problem.detail ?? `answered ${response.status} ${response.statusText}`.trim();
  const { status } = response;
  const passing = status >= 500 || [408, 425, 429].includes(status);
  return passing ? new ConnectionLost(message, { retryMs: retryAfter(response) }) : new Refused(message, { status, code: problem.code });
}

/** When an answer says that its server may be asked again, in milliseconds (RFC 9110, 10.2.3). */
export function retryAfter(response) {
  const text = response.headers.get("retry-after");
  if (!text) return undefined;
  const ms = /^\d+$/.test(text) ? 1000 * Number(text) : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
