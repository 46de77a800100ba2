// The client of `console/client`, outside a browser, over a network that fails: it heals itself and says what it cannot heal.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { EventSource } from "eventsource";
import WebSocket from "ws";

import { backoff } from "../../console/client/backoff.js";
import { publish, Refused, Subscription, TRANSPORTS } from "../../console/client/index.js";
import { Inbox, moved, numbers, PATIENCE_MS, publish as post, publishAll, startRelay, startServer } from "./harness.mjs";

// What a browser brings along.
Object.assign(globalThis, { EventSource, WebSocket });

const QUICK = { backoff: { baseMs: 10, capMs: 50 }, pollEveryMs: 20 };
const bounded = { timeout: 3 * PATIENCE_MS };
let server, relay;
/** Closed at the end at the latest, so that one whose test failed holds nobody up. */
const followed = [];
let channels = 0;
const fresh = () => `subscription/${++channels}`;

before(async () => {
  server = await startServer({ history: { publications_max: 1000 } });
  relay = await startRelay(server);
});
after(async () => {
  for (const subscription of followed) subscription.close();
  await relay?.stop();
  await server?.stop();
});

/** A subscription through the relay, and what it says. */
function follow(channel, transport, options = {}) {
  const [publications, gaps, states] = [new Inbox(), new Inbox(), new Inbox()];
  const subscription = new Subscription(`http://${relay.address}/`, channel, { transport, ...QUICK, ...options })
    .on("publication", ({ data }) => publications.put(data))
    .on("gap", (gap) => gaps.put(gap))
    .on("state", (event) => states.put(event));
  followed.push(subscription);
  const become = async (state) => {
    let event;
    do event = await states.take(`it becomes ${state}`);
    while (event.state !== state);
    return event;
  };
  return { subscription, publications, gaps, become };
}

for (const transport of TRANSPORTS) {
  test(`${transport}: however often it is cut, each publication comes once and in order`, bounded, async () => {
    const channel = fresh();
    const { publications, become } = follow(channel, transport);
    await become("open");
    for (const round of numbers(0, 5)) {
      await publishAll(server.address, channel, numbers(10 * round, 10 * round + 5));
      relay.cut();
      await publishAll(server.address, channel, numbers(10 * round + 5, 10 * round + 10));
    }
    assert.deepEqual(await publications.takeAll(50), numbers(0, 50));
  });

  test(`${transport}: a cursor that is none is refused, and not asked for again`, bounded, async () => {
    const { become } = follow(fresh(), transport, { after: "nonsense" });
    const { fault } = await become("refused");
    assert.ok(fault instanceof Refused, String(fault));
    assert.match(fault.message, /cursor/);
  });

  test(`${transport}: a gap is told before what comes after it`, bounded, async () => {
    const channel = fresh();
    const head = await post(server.address, channel, "first");
    const asked = moved(head, 7);
    const { subscription, publications, gaps } = follow(channel, transport, { after: asked });
    const { resumed, reason } = await gaps.take();
    assert.deepEqual([resumed, reason], [moved(head, -1), "future"]);
    assert.equal(await publications.take(), "first");
    assert.equal(subscription.cursor, head);
  });

  test(`${transport}: what is published through it is there once, and bytes stay bytes`, bounded, async () => {
    const channel = fresh();
    const { subscription, publications, become } = follow(channel, transport);
    await become("open");
    const values = ["text", { json: [1, "two"] }, new Uint8Array([0, 255])];
    for (const value of values) assert.match(await subscription.publish(value), /^\w+-\d+$/);
    assert.deepEqual(await publications.takeAll(3), values);
  });
}

test("one that changes its transport all the time misses nothing while publishers run", bounded, async () => {
  const channel = fresh();
  const { subscription, publications, become } = follow(channel, "poll", { waitS: 5 });
  await become("open");
  const publishing = publishAll(server.address, channel, numbers(0, 300));
  const received = [];
  for (let change = 1; received.length < 300; change += 1) {
    received.push(await publications.take());
    if (received.length % 3 === 0) subscription.use(TRANSPORTS[change % TRANSPORTS.length]);
  }
  await publishing;
  assert.deepEqual(received, numbers(0, 300));
});

test("a publish whose answer is lost is repeated, and published once", bounded, async () => {
  const channel = fresh();
  const browsers = globalThis.fetch;
  const tries = [];
  globalThis.fetch = async (url, options) => {
    if (options.method !== "POST") return browsers(url, options);
    tries.push(await browsers(url, options));
    if (tries.length < 3) throw new TypeError("the network is gone");
    return tries.at(-1);
  };
  const position = await publish(`http://${server.address}/`, channel, "once", QUICK).finally(() => (globalThis.fetch = browsers));
  assert.deepEqual(tries.map(({ status }) => status), [201, 201, 201]);
  const { publications } = await (await fetch(`http://${server.address}/channels/${channel}`)).json();
  assert.deepEqual(publications.map(({ position, data }) => [position, data]), [[position, "once"]]);
});

test("a listener's fault is its own", bounded, async () => {
  const channel = fresh();
  const { subscription, publications, become } = follow(channel, "stream");
  const faults = [];
  globalThis.reportError = (fault) => faults.push(fault.message);
  subscription.off("publication", () => {}).on("publication", () => { throw new Error("mine"); });
  await become("open");
  await publishAll(server.address, channel, ["a", "b"]);
  assert.deepEqual(await publications.takeAll(2), ["a", "b"]);
  assert.deepEqual(faults, ["mine", "mine"]);
});

test("the wait is drawn anew each time, below a bound that doubles up to its cap", () => {
  const highest = (failures) => backoff(failures, { baseMs: 100, capMs: 1000, random: () => 1 });
  assert.deepEqual([0, 1, 2, 3, 4, 99].map(highest), [100, 200, 400, 800, 1000, 1000]);
  assert.equal(backoff(5, { random: () => 0 }), 0);
});
