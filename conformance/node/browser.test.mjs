// Chromium's own EventSource, WebSocket and fetch, from a page of a listed origin and from one of a foreign origin.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { ARGUMENTS, CHROMIUM } from "./chromium.mjs";
import { moved, numbers, PATIENCE_MS, publish, publishAll, startRelay, startServer } from "./harness.mjs";

const bounded = { timeout: 3 * PATIENCE_MS };
let pages, server, relay, profile, browser;
let channels = 0;
const fresh = () => `browser/${++channels}`;

before(async () => {
  // One listener, two origins: the page's own name decides which it is. Only 127.0.0.1 is listed.
  pages = http.createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><title>a page</title>"));
  pages.listen(0, "127.0.0.1");
  await once(pages, "listening");
  server = await startServer({ history: { publications_max: 100 }, http: { origins: [listed()] } });
  relay = await startRelay(server);
  profile = mkdtempSync(path.join(tmpdir(), "bongsu-chromium-"));
  browser = await chromium.launchPersistentContext(profile, { executablePath: CHROMIUM, args: ARGUMENTS, timeout: 3 * PATIENCE_MS });
  browser.setDefaultTimeout(PATIENCE_MS);
  await browser.addInitScript({ content: `(${inPage})()` });
}, { timeout: 6 * PATIENCE_MS });

after(async () => {
  await browser?.close();
  await relay?.stop();
  await server?.stop();
  pages?.close();
  if (profile) rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

const listed = () => `http://127.0.0.1:${pages.address().port}`;
const foreign = () => `http://localhost:${pages.address().port}`;

/** Runs in every page before its own scripts: keeps what each source said, and waits for what it will say. */
function inPage() {
  window.said = [];
  window.until = async (condition) => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  window.listen = (url) => {
    const source = (window.source = new EventSource(url));
    for (const name of ["open", "error", "message", "gap", "base64"]) {
      source.addEventListener(name, ({ type, data, lastEventId }) => window.said.push({ type, data, id: lastEventId, state: source.readyState }));
    }
  };
  window.connect = (url, protocols) => {
    const socket = (window.socket = new WebSocket(url, protocols));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => window.said.push({ type: "open", protocol: socket.protocol });
    socket.onmessage = ({ data }) => window.said.push({ type: "message", data: typeof data === "string" ? data : [...new Uint8Array(data)] });
    socket.onclose = ({ code, reason }) => window.said.push({ type: "close", code, reason });
  };
}

async function open(origin) {
  const page = await browser.newPage();
  await page.goto(origin);
  // Takes what was said, once so many of these kinds are there.
  page.said = async (count, ...kinds) => {
    await page.waitForFunction(([count, kinds]) => window.said.filter(({ type }) => kinds.includes(type)).length >= count, [count, kinds]);
    return page.evaluate((kinds) => window.said.splice(0).filter(({ type }) => kinds.includes(type)), kinds);
  };
  return page;
}

test("EventSource of a listed origin receives, goes on after each cut, and misses nothing", bounded, async () => {
  const channel = fresh();
  const page = await open(listed());
  await page.evaluate((url) => window.listen(url), `http://${relay.address}/channels/${channel}`);
  await page.said(1, "open");
  for (const round of [0, 1]) {
    const positions = await publishAll(server.address, channel, numbers(0, 10));
    const said = await page.said(10, "message");
    assert.deepEqual(said.map(({ data }) => data), numbers(0, 10));
    assert.deepEqual(said.map(({ id }) => id), positions);
    relay.cut();
    await publish(server.address, channel, `missed ${round}`);
    assert.deepEqual((await page.said(1, "message")).map(({ data }) => data), [`missed ${round}`]);
  }
  await page.close();
});

test("EventSource that is cut before its first publication misses nothing", bounded, async () => {
  const channel = fresh();
  const page = await open(listed());
  const opening = relay.passing(/^id:.*\n\r?\n/m);
  await page.evaluate((url) => window.listen(url), `http://${relay.address}/channels/${channel}`);
  await page.said(1, "open");
  await opening;
  relay.cut();
  await publish(server.address, channel, "first");
  assert.deepEqual((await page.said(1, "message")).map(({ data }) => data), ["first"]);
  await page.close();
});

test("EventSource sees a gap, and bytes as base64", bounded, async () => {
  const channel = fresh();
  const positions = await publishAll(server.address, channel, numbers(0, 150));
  const page = await open(listed());
  await page.evaluate((url) => window.listen(url), `http://${server.address}/channels/${channel}?after=${positions[9]}`);
  const said = await page.said(101, "gap", "message");
  assert.deepEqual([said[0].type, said[0].id], ["gap", positions[49]]);
  assert.deepEqual(JSON.parse(said[0].data), { asked: positions[9], resumed: positions[49], reason: "trimmed" });
  assert.deepEqual(said.slice(1).map(({ data }) => data), numbers(50, 150));
  await publish(server.address, channel, new Uint8Array([0, 255]), { "content-type": "image/png" });
  assert.equal((await page.said(1, "base64"))[0].data, "AP8=");
  await page.close();
});

test("EventSource goes on with a new life of the server, and says so", bounded, async () => {
  const channel = fresh();
  const config = { http: { origins: [listed()] } };
  const first = await startServer(config);
  const way = await startRelay(first);
  const page = await open(listed());
  await page.evaluate((url) => window.listen(url), `http://${way.address}/channels/${channel}`);
  await page.said(1, "open");
  const last = await publish(first.address, channel, "of the first life");
  await page.said(1, "message");
  const second = await startServer(config);
  await publish(second.address, channel, "of the second life");
  way.leadTo(second);
  await first.stop();
  const [gap, message] = await page.said(2, "gap", "message");
  assert.deepEqual([gap.type, JSON.parse(gap.data).asked, JSON.parse(gap.data).reason], ["gap", last, "epoch"]);
  assert.equal(message.data, "of the second life");
  await page.close();
  await way.stop();
  await second.stop();
});

test("WebSocket sends and receives plain payloads, and resumes by counting after a cut", bounded, async () => {
  const channel = fresh();
  const page = await open(listed());
  await page.evaluate((url) => window.connect(url), `ws://${relay.address}/channels/${channel}`);
  await page.said(1, "open");
  await page.evaluate(() => (window.socket.send("봉수"), window.socket.send(new Uint8Array([0, 255]))));
  assert.deepEqual((await page.said(2, "message")).map(({ data }) => data), ["봉수", [0, 255]]);
  relay.cut();
  assert.equal((await page.said(1, "close"))[0].code, 1006);
  const third = await publish(server.address, channel, "missed");
  await page.evaluate((url) => window.connect(url), `ws://${relay.address}/channels/${channel}?after=${moved(third, -1)}`);
  assert.equal((await page.said(1, "message"))[0].data, "missed");
  await page.close();
});

test("WebSocket is closed with 4009 rather than be silent about a gap", bounded, async () => {
  const channel = fresh();
  const [first] = await publishAll(server.address, channel, numbers(0, 150));
  const page = await open(listed());
  await page.evaluate((url) => window.connect(url), `ws://${server.address}/channels/${channel}?after=${first}`);
  const [{ code, reason }] = await page.said(1, "close");
  assert.equal(code, 4009);
  assert.match(reason, /trimmed/);
  await page.close();
});

test("WebSocket speaks the native protocol", bounded, async () => {
  const channel = fresh();
  const page = await open(listed());
  await page.evaluate((url) => window.connect(url, ["bongsu.v1.json"]), `ws://${server.address}/channels/${channel}`);
  assert.equal((await page.said(1, "open"))[0].protocol, "bongsu.v1.json");
  await page.evaluate((channel) => window.socket.send(JSON.stringify({ subscribe: channel, id: 1 })), channel);
  assert.equal(JSON.parse((await page.said(1, "message"))[0].data).channel, channel);
  const position = await publish(server.address, channel, "hi");
  const told = JSON.parse((await page.said(1, "message"))[0].data);
  assert.deepEqual([told.channel, told.position, told.data], [channel, position, "hi"]);
  await page.close();
});

test("fetch of a listed origin publishes after asking leave, polls, and reads the cursor", bounded, async () => {
  const channel = fresh();
  const page = await open(listed());
  const seen = await page.evaluate(async (url) => {
    const headers = { "content-type": "application/json", "idempotency-key": "once" };
    const posted = [];
    for (let n = 0; n < 2; n += 1) posted.push(await (await fetch(url, { method: "POST", headers, body: '{"n":1}' })).json());
    const polled = await fetch(url);
    return { posted, cursor: polled.headers.get("bongsu-cursor"), page: await polled.json() };
  }, `http://${server.address}/channels/${channel}`);
  assert.equal(seen.posted[0].position, seen.posted[1].position);
  assert.equal(seen.cursor, seen.posted[0].position);
  assert.deepEqual(seen.page.publications.map(({ data }) => data), [{ n: 1 }]);
  await page.close();
});

test("a page of a foreign origin reaches nothing", bounded, async () => {
  const channel = fresh();
  await publish(server.address, channel, "secret");
  const page = await open(foreign());
  const address = `${server.address}/channels/${channel}`;

  await page.evaluate((url) => window.listen(url), `http://${address}?earliest`);
  const [{ state }] = await page.said(1, "error", "message");
  assert.equal(state, 2, "the browser gives up for good");
  await page.evaluate((url) => window.connect(url), `ws://${address}?earliest`);
  assert.equal((await page.said(1, "open", "message", "close"))[0].type, "close");

  const fetched = await page.evaluate(async (url) => {
    const outcomes = [];
    for (const options of [{}, { method: "POST", body: "{}", headers: { "content-type": "application/json" } }]) {
      outcomes.push(await fetch(url, options).then(() => "reached", () => "refused"));
    }
    // These need no leave beforehand and tell the page nothing, so that only the server can refuse them.
    await fetch(url, { method: "POST", mode: "no-cors", body: "forged" }).catch(() => {});
    await fetch(url.replace(/channels.*/, "publish"), { method: "POST", mode: "no-cors", body: '{"publish":"forged","data":1}' }).catch(() => {});
    return outcomes;
  }, `http://${address}`);
  assert.deepEqual(fetched, ["refused", "refused"]);
  for (const [name, expected] of [[channel, ["secret"]], ["forged", []]]) {
    const { publications } = await (await fetch(`http://${server.address}/channels/${name}`)).json();
    assert.deepEqual(publications.map(({ data }) => data), expected);
  }
  await page.close();
});
