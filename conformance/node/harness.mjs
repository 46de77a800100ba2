// Starts the server under test on a free port and ends it by its process id; and what the tests wait with.

import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const REPOSITORY = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const BINARY = path.resolve(process.env.BONGSU_BIN ?? path.join(REPOSITORY, "target/debug/bongsu"));

/** Every wait ends by itself, with a failure that says what was waited for. */
export const PATIENCE_MS = 1000 * Number(process.env.BONGSU_PATIENCE_SECONDS ?? 20);
/** A server outlives no test run, even one that was killed: `timeout` ends it. */
const LIFETIME_SECONDS = 600;

/** Starts a server with these tables of configuration, on a free port unless a flag names one. `stop()` ends it. */
export async function startServer(config = {}, ...flags) {
  if (!existsSync(BINARY)) throw new Error(`there is no ${BINARY}: \`cargo build\` makes it, BONGSU_BIN names another`);
  const folder = mkdtempSync(path.join(tmpdir(), "bongsu-"));
  const portsFile = path.join(folder, "ports.json");
  const configFile = path.join(folder, "bongsu.toml");
  writeFileSync(configFile, asToml(config));
  // In the foreground, `timeout` passes a signal on once; else it goes to the whole group as well, and the server gets two.
  const command = ["--foreground", "--kill-after=30", String(LIFETIME_SECONDS), BINARY, "serve", "--ports-file", portsFile];
  if (!flags.includes("--http")) flags = ["--http", "127.0.0.1:0", ...flags];
  // Two servers may run at once, and neither is to hold the usual ports.
  for (const listener of ["--tcp", "--stomp"]) if (!flags.includes(listener)) flags = [listener, "off", ...flags];
  // A server reads its configuration from BONGSU_… variables too, and refuses those that it does not know.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("BONGSU_")));
  const child = spawn("timeout", [...command, "--config", configFile, ...flags], { stdio: ["ignore", "pipe", "pipe"], env });
  let log = "";
  for (const output of [child.stdout, child.stderr]) output.on("data", (data) => (log = (log + data).slice(-4000)));
  const ended = once(child, "exit");

  async function stop() {
    if (child.exitCode === null) child.kill("SIGTERM");
    const [code] = await within(ended, "the server ends");
    rmSync(folder, { recursive: true, force: true });
    return code;
  }

  // The ports file is renamed into place when all listeners are ready, so that it exists only whole.
  const deadline = Date.now() + PATIENCE_MS;
  while (!existsSync(portsFile)) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode} before it was ready:\n${log}`);
    if (Date.now() > deadline) {
      await stop();
      throw new Error(`no ports file in time:\n${log}`);
    }
    await pause(10);
  }
  const { http: address, stomp } = JSON.parse(readFileSync(portsFile, "utf8"));
  return { address, stomp, stop };
}

/** Numbers, strings and lists of strings look the same in JSON and in TOML. */
function asToml(tables) {
  return Object.entries(tables)
    .map(([table, values]) => [`[${table}]`, ...Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}`)].join("\n"))
    .join("\n");
}

/** Publishes a payload and returns its position. */
export async function publish(address, channel, data, headers = {}) {
  const answer = await fetch(`http://${address}/channels/${channel}`, { method: "POST", body: data, headers: { "content-type": "text/plain", ...headers } });
  if (answer.status !== 201) throw new Error(`publishing was answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()).position;
}

/** Publishes texts one after the other and returns their positions. */
export async function publishAll(address, channel, texts) {
  const positions = [];
  for (const text of texts) positions.push(await publish(address, channel, text));
  return positions;
}

/** The cursor so many publications further on: offsets have no holes. */
export function moved(cursor, by) {
  const dash = cursor.lastIndexOf("-");
  return `${cursor.slice(0, dash)}-${Number(cursor.slice(dash + 1)) + by}`;
}

export const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => String(from + n));

/** What has been received and not yet been taken. */
export class Inbox {
  #waiting = [];
  #held = [];

  put(value) {
    const taker = this.#waiting.shift();
    if (taker) taker(value);
    else this.#held.push(value);
  }

  take(what = "something to receive") {
    if (this.#held.length > 0) return Promise.resolve(this.#held.shift());
    return within(new Promise((resolve) => this.#waiting.push(resolve)), what);
  }

  async takeAll(count, what) {
    const taken = [];
    while (taken.length < count) taken.push(await this.take(what));
    return taken;
  }
}

/** The promise, or a failure that says what did not come. */
export async function within(promise, what) {
  const late = new AbortController();
  const bound = pause(PATIENCE_MS, undefined, { signal: late.signal }).then(() => Promise.reject(new Error(`not in time: ${what}`)));
  try {
    return await Promise.race([promise, bound]);
  } finally {
    late.abort();
    bound.catch(() => {});
  }
}

/**
 * A relay before the server, whose connections the test can cut as a network does, and which can lead to another server.
 * It puts the server's own name into `Host`, as a proxy would.
 */
export async function startRelay(server) {
  let target = server;
  const open = new Set();
  const passed = new EventEmitter();
  const listener = net.createServer((client) => {
    const upstream = net.connect(Number(target.address.split(":")[1]), "127.0.0.1");
    const pair = { client, upstream };
    open.add(pair);
    client.on("data", (data) => upstream.write(Buffer.from(data.toString("latin1").replace(/^host: .*$/im, `Host: ${target.address}`), "latin1")));
    upstream.on("data", (data) => (client.write(data), passed.emit("data", data.toString("latin1"))));
    for (const socket of [client, upstream]) {
      socket.on("error", () => {});
      socket.on("close", () => (open.delete(pair), client.destroy(), upstream.destroy()));
    }
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const cut = () => open.forEach(({ client, upstream }) => (client.destroy(), upstream.destroy()));
  return {
    address: `127.0.0.1:${listener.address().port}`,
    cut,
    /** Resolves when an answer that matches has been passed on, in one piece. */
    passing: (pattern) =>
      within(
        new Promise((resolve) => {
          const look = (text) => pattern.test(text) && (passed.off("data", look), resolve());
          passed.on("data", look);
        }),
        `an answer that matches ${pattern}`,
      ),
    leadTo: (server) => (target = server),
    stop: () => (cut(), new Promise((resolve) => listener.close(resolve))),
  };
}
