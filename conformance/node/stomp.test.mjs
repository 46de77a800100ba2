// The npm client `@stomp/stompjs` against the server, over WebSocket and, by a socket that looks like one, over TCP.

import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";

import { Client } from "@stomp/stompjs";
import WebSocket from "ws";

import { Inbox, numbers, PATIENCE_MS, publish, publishAll, startServer, within } from "./harness.mjs";

const bounded = { timeout: 3 * PATIENCE_MS };
let server;
let channels = 0;
const fresh = () => `stompjs/${++channels}`;

before(async () => (server = await startServer({}, "--stomp", "127.0.0.1:0")));
after(() => server?.stop());

/** What stompjs asks of a WebSocket, on a TCP socket. */
class TcpSocket {
  binaryType = "arraybuffer";
  readyState = 0;

  constructor(address) {
    const [host, port] = address.split(":");
    this.socket = net.connect(Number(port), host);
    this.socket.on("connect", () => ((this.readyState = 1), this.onopen?.()));
    this.socket.on("data", (data) => this.onmessage?.({ data: data.buffer.slice(data.byteOffset, data.byteOffset + data.length) }));
    this.socket.on("error", (error) => this.onerror?.(error));
    this.socket.on("close", () => ((this.readyState = 3), this.onclose?.({ code: 1000, reason: "" })));
  }

  send(data) {
    this.socket.write(typeof data === "string" ? data : Buffer.from(data));
  }

  close() {
    this.socket.end();
  }

  terminate() {
    this.socket.destroy();
  }
}

const carriers = {
  "at /stomp": (protocols) => new WebSocket(`ws://${server.address}/stomp`, protocols),
  "at a channel": (protocols) => new WebSocket(`ws://${server.address}/channels/any`, protocols),
  "over TCP": () => new TcpSocket(server.stomp),
};

/** A client that is connected, with what it was told. */
async function connect(carrier, options = {}) {
  const told = { errors: new Inbox(), closes: new Inbox() };
  const client = new Client({
    webSocketFactory: () => carrier(["v12.stomp", "v11.stomp", "v10.stomp"]),
    reconnectDelay: 0,
    onStompError: (frame) => told.errors.put(frame),
    onWebSocketClose: (event) => told.closes.put(event),
    ...options,
  });
  const connected = new Promise((resolve) => (client.onConnect = resolve));
  client.activate();
  await within(connected, "CONNECTED");
  return { client, ...told };
}

/** A subscription whose RECEIPT has come: its cursor and its messages. */
async function subscribe(client, channel, headers = {}) {
  const inbox = new Inbox();
  const receipt = `subscribed to ${channel} ${++channels}`;
  const subscribed = new Promise((resolve) => client.watchForReceipt(receipt, resolve));
  const subscription = client.subscribe(`/topic/${channel}`, (message) => inbox.put(message), { receipt, ...headers });
  const { headers: { cursor } } = await within(subscribed, "the RECEIPT");
  return { subscription, inbox, cursor };
}

for (const [where, carrier] of Object.entries(carriers)) {
  test(`stompjs ${where}: what it publishes it receives, with positions, and text and bytes as they are`, bounded, async () => {
    const { client } = await connect(carrier);
    assert.equal(client.connectedVersion, "1.2");
    const channel = fresh();
    const { inbox, cursor } = await subscribe(client, channel);
    for (const body of numbers(0, 100)) client.publish({ destination: `/topic/${channel}`, body, headers: { odd: "a:\nb\\" } });
    const messages = await inbox.takeAll(100);
    assert.deepEqual(messages.map(({ body }) => body), numbers(0, 100));
    assert.deepEqual(messages.map(({ headers }) => headers.position), numbers(1, 101).map((n) => cursor.replace(/0$/, n)));
    assert.equal(messages[0].headers.odd, "a:\nb\\");
    client.publish({ destination: `/topic/${channel}`, binaryBody: new Uint8Array([0, 255, 10]) });
    assert.deepEqual([...(await inbox.take()).binaryBody], [0, 255, 10]);
    await client.deactivate();
  });

  test(`stompjs ${where}: resumes after the position it saw, and sees a gap as a message`, bounded, async () => {
    const channel = fresh();
    const positions = await publishAll(server.address, channel, numbers(0, 10));
    const { client } = await connect(carrier);
    const { inbox } = await subscribe(client, channel, { after: positions[6] });
    assert.deepEqual((await inbox.takeAll(3)).map(({ body }) => body), ["7", "8", "9"]);
    const stranger = await subscribe(client, channel, { after: "strangersEpoch-1" });
    const gap = await stranger.inbox.take();
    assert.deepEqual([gap.headers.gap, JSON.parse(gap.body).asked], ["epoch", "strangersEpoch-1"]);
    assert.equal((await stranger.inbox.take()).body, "0");
    await client.deactivate();
  });

  test(`stompjs ${where}: a window lets no more through than it acknowledges`, bounded, async () => {
    const channel = fresh();
    await publishAll(server.address, channel, numbers(0, 10));
    const { client } = await connect(carrier);
    const { inbox } = await subscribe(client, channel, { ack: "client-individual", "prefetch-count": "1", earliest: "true" });
    for (const n of numbers(0, 10)) {
      const message = await inbox.take();
      assert.equal(message.body, n);
      if (n === "5") message.nack();
      else message.ack();
    }
    await client.deactivate();
  });

  test(`stompjs ${where}: a transaction is committed or not`, bounded, async () => {
    const channel = fresh();
    const { client } = await connect(carrier);
    const { inbox } = await subscribe(client, channel);
    for (const end of ["abort", "commit"]) {
      const transaction = client.begin();
      for (const n of numbers(0, 3)) client.publish({ destination: `/topic/${channel}`, body: `${end} ${n}`, headers: { transaction: transaction.id } });
      transaction[end]();
    }
    assert.deepEqual((await inbox.takeAll(3)).map(({ body }) => body), ["commit 0", "commit 1", "commit 2"]);
    await client.deactivate();
  });
}

test("stompjs: heart-beats both ways keep it connected", bounded, async () => {
  const { client, closes } = await connect(carriers["at /stomp"], { heartbeatIncoming: 1000, heartbeatOutgoing: 1000 });
  const closed = await Promise.race([closes.take().catch(() => false), new Promise((resolve) => setTimeout(() => resolve(false), 3500))]);
  assert.equal(closed, false);
  const channel = fresh();
  const { inbox } = await subscribe(client, channel);
  await publish(server.address, channel, "alive");
  assert.equal((await inbox.take()).body, "alive");
  await client.deactivate();
});

test("stompjs: a fault is an ERROR with its name, and a large message goes through in parts", bounded, async () => {
  const { client, errors } = await connect(carriers["at /stomp"], { splitLargeFrames: true, maxWebSocketChunkSize: 1024 });
  const channel = fresh();
  const { inbox } = await subscribe(client, channel);
  client.publish({ destination: `/topic/${channel}`, body: "large ".repeat(10_000) });
  assert.equal((await inbox.take()).body.length, 60_000);
  client.publish({ destination: "nowhere" });
  assert.equal((await errors.take()).headers.code, "invalid-destination");
  await client.deactivate();
});

test("stompjs: the end of the server is an ERROR that says when to come back", bounded, async () => {
  const leaving = await startServer();
  const { client, errors } = await connect((protocols) => new WebSocket(`ws://${leaving.address}/stomp`, protocols));
  const stopped = leaving.stop();
  const { headers } = await errors.take();
  assert.equal(headers.code, "shutdown");
  assert.ok(Number(headers["reconnect-ms"]) >= 1000);
  await client.deactivate();
  assert.equal(await stopped, 0);
});
