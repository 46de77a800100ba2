// The page at `/`, in Chromium: two people talk, each changes transport in mid-conversation, and the server is restarted.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { ARGUMENTS, CHROMIUM } from "./chromium.mjs";
import { numbers, PATIENCE_MS, publish, startServer } from "./harness.mjs";

const TRANSPORTS = ["websocket", "stream", "sse", "long-poll", "poll"];
/** Quick to come back, so that a restart takes no time worth mentioning. */
const CONFIG = { shutdown: { reconnect_min: "10ms", reconnect_max: "50ms" } };

const bounded = { timeout: 4 * PATIENCE_MS };
let server, browser;
let channels = 0;
const fresh = () => `page/${++channels}`;

before(async () => {
  server = await startServer(CONFIG);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS, timeout: 3 * PATIENCE_MS });
}, { timeout: 6 * PATIENCE_MS });

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens the page as somebody else's browser would, and keeps whatever goes wrong in it. */
async function open(channel, transport, { address = server.address, viewport = { width: 1280, height: 800 }, ...options } = {}) {
  const context = await browser.newContext({ viewport, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.wrong = [];
  page.on("console", (message) => message.type() === "error" && page.wrong.push(message.text()));
  page.on("pageerror", (fault) => page.wrong.push(String(fault)));
  await page.addInitScript(() => {
    window.violations = [];
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => window.violations.push(`${violatedDirective} ${blockedURI}`));
  });
  await page.goto(`http://${address}/?channel=${channel}&transport=${transport}&name=${transport}`);
  await isOpen(page);
  return page;
}

const isOpen = (page) => page.locator("body[data-state=open]").waitFor();

async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send", exact: true }).click();
}

/** What the conversation shows, once so many messages are there. */
async function shown(page, count) {
  await page.locator(`#messages .message >> nth=${count - 1}`).waitFor({ state: "attached" });
  return page.locator("#messages .message").evaluateAll((items) =>
    items.map((item) => ({ position: item.dataset.position, text: item.querySelector(".text").textContent })),
  );
}

async function close(page, allowed = /^$/) {
  const violations = await page.evaluate(() => window.violations);
  assert.deepEqual([violations, page.wrong.filter((text) => !allowed.test(text))], [[], []]);
  await page.context().close();
}

const column = (page, transport) => page.locator(`#costs td[data-transport=${transport}]`).allTextContents();

test("two people talk while each goes through all transports: each message once, in order, by both", bounded, async () => {
  const channel = fresh();
  const pages = await Promise.all([open(channel, "websocket"), open(channel, "poll")]);
  const routes = [[...TRANSPORTS, "websocket"], [...TRANSPORTS].reverse()];
  const talk = async (page, route, who) => {
    let said = 0;
    for (const transport of route) {
      await page.locator(`label:has(input[value=${transport}])`).click();
      // Some while it changes, some after it has.
      for (const _ of numbers(0, 4)) await say(page, `${who} ${said++}`);
      await isOpen(page);
      for (const _ of numbers(0, 4)) await say(page, `${who} ${said++}`);
    }
    return said;
  };
  const counts = await Promise.all(pages.map((page, index) => talk(page, routes[index], index === 0 ? "one" : "other")));
  const total = counts[0] + counts[1];

  const [one, other] = await Promise.all(pages.map((page) => shown(page, total)));
  const { publications } = await (await fetch(`http://${server.address}/channels/${channel}`)).json();
  assert.deepEqual(one, publications.map(({ position, data }) => ({ position, text: data.text })));
  assert.deepEqual(other, one);
  assert.equal(one.length, total);
  for (const [index, who] of ["one", "other"].entries()) {
    assert.deepEqual(one.map(({ text }) => text).filter((text) => text.startsWith(who)).sort(), numbers(0, counts[index]).map((n) => `${who} ${n}`).sort());
  }
  for (const page of pages) {
    assert.equal(await page.locator("#unsent li").count(), 0);
    assert.equal(await page.locator("#messages .gap, #messages .trouble").count(), 0);
    for (const transport of TRANSPORTS) {
      const [, requests, , up, , down] = await column(page, transport);
      assert.ok(Number(requests) > 0 && /\d k?B/.test(up) && /\d k?B/.test(down), `${transport}: ${[requests, up, down]}`);
    }
    await close(page);
  }
});

test("the costs go on counting, and a poll costs more than a message on the WebSocket", bounded, async () => {
  const channel = fresh();
  const page = await open(channel, "websocket");
  const [, , , , , , , before] = await column(page, "websocket");
  await publish(server.address, channel, "one");
  await shown(page, 1);
  await page.waitForFunction(
    (before) => document.querySelectorAll("#costs td[data-transport=websocket]")[7].textContent !== before,
    before,
  );
  assert.equal((await column(page, "websocket"))[1], "1");
  await page.getByRole("radio", { name: "Polling", exact: true }).check({ force: true });
  await isOpen(page);
  await page.getByLabel("every").selectOption("500");
  await page.waitForFunction(() => Number(document.querySelectorAll("#costs td[data-transport=poll]")[1].textContent) >= 4);
  await close(page);
});

test("the server is restarted in mid-conversation: everyone is told, comes back, and goes on", bounded, async () => {
  const channel = fresh();
  let own = await startServer(CONFIG);
  const { address } = own;
  const pages = await Promise.all(TRANSPORTS.map((transport) => open(channel, transport, { address })));
  await say(pages[0], "before");
  for (const page of pages) assert.equal((await shown(page, 1))[0].text, "before");

  await own.stop();
  await Promise.all(pages.map((page) => page.locator("#messages .trouble").waitFor()));
  await say(pages[2], "said while it was away");
  own = await startServer(CONFIG, "--http", address);
  for (const page of pages) {
    // By itself it would come back too, after a while that is left to chance; this says that there is reason to hurry.
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await page.locator("#messages .healed").waitFor();
    await page.locator("#messages .gap[data-reason=epoch]").waitFor();
  }
  // A bye is in the stream's own words; a poll between two requests has nobody to hear it.
  for (const page of pages.slice(0, 4)) assert.equal(await page.locator("#messages .bye").count(), 1);
  await say(pages[3], "after");
  for (const page of pages) {
    const texts = (await shown(page, 3)).map(({ text }) => text);
    assert.deepEqual([texts[0], ...texts.slice(1).sort()], ["before", "after", "said while it was away"]);
    assert.equal(await page.locator("#messages .gap").count(), 1);
  }
  // What a browser itself writes to its console about a server that is not there.
  for (const page of pages) await close(page, /net::ERR_|WebSocket connection to/);
  await own.stop();
});

test("a gap is shown where it happened", bounded, async () => {
  const forgetful = await startServer({ ...CONFIG, history: { publications_max: 5 } });
  const channel = fresh();
  const { address } = forgetful;
  const page = await open(channel, "sse", { address });
  await publish(address, channel, "first");
  await shown(page, 1);
  await page.context().setOffline(true);
  await page.locator("label:has(input[value=stream])").click();
  for (const text of numbers(0, 9)) await publish(address, channel, text);
  await page.context().setOffline(false);
  await page.locator("#messages .gap[data-reason=trimmed]").waitFor();
  assert.deepEqual((await shown(page, 6)).map(({ text }) => text), ["first", ...numbers(4, 9)]);
  assert.match(await page.locator("#messages .gap").textContent(), /4 messages after #1 .* after #5/);
  await close(page, /net::ERR_/);
  await forgetful.stop();
});

test("what others write is text, whatever it looks like, and the page runs nothing but its own files", bounded, async () => {
  const channel = fresh();
  const page = await open(channel, "stream");
  const texts = ["<img src=x onerror=\"document.title='owned'\">", '{"from":1}', "봉수 🔥"];
  for (const text of texts) await publish(server.address, channel, text);
  await publish(server.address, channel, '{"from":"<b>x</b>","text":"<script>1</script>"}', { "content-type": "application/json" });
  await publish(server.address, channel, new Uint8Array([0, 255]), { "content-type": "image/png" });
  assert.deepEqual((await shown(page, 5)).map(({ text }) => text), [...texts, "<script>1</script>", "2 bytes"]);
  assert.equal(await page.locator("#messages img, #messages script, #messages b b").count(), 0);
  const refused = await page.evaluate(() => {
    try {
      document.body.innerHTML = "<p>";
    } catch (fault) {
      return fault.name;
    }
  });
  assert.equal(refused, "TypeError");
  await page.context().close();
});

test("it can be used by keyboard and by name, and fits a phone", bounded, async () => {
  const channel = fresh();
  const page = await open(channel, "websocket", { viewport: { width: 360, height: 720 } });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(width, 360, "nothing stands out to the side");
  await page.getByRole("radio", { name: "WebSocket" }).focus();
  await page.keyboard.press("ArrowRight");
  await page.locator("#state", { hasText: "Connected over Streaming" }).waitFor();
  await page.getByLabel("Message", { exact: true }).focus();
  await page.keyboard.type("by keyboard");
  await page.keyboard.press("Enter");
  assert.equal((await shown(page, 1))[0].text, "by keyboard");
  await page.getByRole("log", { name: "Messages" }).waitFor();
  await page.getByLabel("Channel").fill(`${channel}/other`);
  await page.keyboard.press("Tab");
  await page.locator("#messages .note", { hasText: `Joined ${channel}/other` }).waitFor();
  assert.equal(await page.locator("#messages .message").count(), 0);
  await close(page);
});

test("a link of another site leads to the page, and to nothing that can be read", bounded, async () => {
  const channel = fresh();
  await publish(server.address, channel, "secret");
  const elsewhere = http.createServer((_, answer) =>
    answer
      .setHeader("content-type", "text/html")
      .end(`<!doctype html><a id="page" href="http://${server.address}/?channel=${channel}">page</a><a id="channel" href="http://${server.address}/channels/${channel}">channel</a>`),
  );
  elsewhere.listen(0, "127.0.0.1");
  await once(elsewhere, "listening");
  const page = await (await browser.newContext()).newPage();
  for (const [link, status] of [["page", 200], ["channel", 403]]) {
    await page.goto(`http://localhost:${elsewhere.address().port}`);
    const [answer] = await Promise.all([page.waitForResponse((response) => response.url().includes(server.address)), page.click(`#${link}`)]);
    assert.equal(answer.status(), status, link);
    if (status === 200) await isOpen(page);
  }
  await page.context().close();
  elsewhere.close();
});

test("the page's files: types, validators, methods, and what a browser is told to forbid", bounded, async () => {
  const ask = async (path, headers = {}, method = "GET") => {
    const request = http.request(`http://${server.address}${path}`, { method, headers });
    request.end();
    const [answer] = await once(request, "response");
    let body = "";
    for await (const part of answer.setEncoding("utf8")) body += part;
    return { status: answer.statusCode, headers: answer.headers, body };
  };
  const html = { accept: "text/html,application/xhtml+xml,*/*;q=0.8" };
  const page = await ask("/", html);
  assert.equal(page.headers["content-type"], "text/html; charset=utf-8");
  assert.match(page.headers["content-security-policy"], /default-src 'none'.*script-src 'self'.*frame-ancestors 'none'/);
  assert.deepEqual([page.headers["x-content-type-options"], page.headers["referrer-policy"]], ["nosniff", "no-referrer"]);
  assert.doesNotMatch(page.body, /<script>|<style|\son\w+=|\sstyle=/);
  assert.equal((await ask("/", { ...html, "if-none-match": page.headers.etag })).status, 304);
  assert.match((await ask("/", { accept: "*/*" })).body, /one channel, every transport/);

  const names = [...page.body.matchAll(/(?:href|src)="(console\/[^"]+)"/g)].map(([, name]) => `/${name}`);
  assert.ok(names.length >= 3);
  for (const name of names) {
    const file = await ask(name);
    assert.deepEqual([file.status, file.headers["cache-control"], file.headers["x-content-type-options"]], [200, "no-cache", "nosniff"], name);
    assert.equal((await ask(name, { "if-none-match": file.headers.etag })).status, 304);
    const head = await ask(name, {}, "HEAD");
    assert.deepEqual([head.body, head.headers["content-length"]], ["", String(Buffer.byteLength(file.body))]);
    assert.equal((await ask(name, {}, "OPTIONS")).headers.allow, "GET, HEAD, OPTIONS");
    assert.equal((await ask(name, {}, "POST")).status, 405);
  }
  assert.equal((await ask("/console/nothing.js")).status, 404);

  const without = await startServer({ console: { enabled: false } });
  const answers = await Promise.all(["/", "/console/app.js"].map((path) => fetch(`http://${without.address}${path}`, { headers: html })));
  assert.deepEqual(answers.map(({ status, headers }) => [status, headers.get("content-type")]), [
    [200, "text/plain; charset=utf-8"],
    [404, "application/problem+json"],
  ]);
  await without.stop();
});
