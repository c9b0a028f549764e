// MQTT.js walks through what a client does: node peer.mjs URL PROTOCOL_VERSION. It prints one JSON object per step.
import assert from "node:assert/strict";
import { once } from "node:events";
import mqtt from "mqtt";

const url = process.argv[2];
const protocolVersion = Number(process.argv[3]);
const v5 = protocolVersion === 5;
const tell = (step, more = {}) => console.log(JSON.stringify({ step, ...more }));

async function join(options = {}) {
  const client = mqtt.connect(url, { protocolVersion, reconnectPeriod: 0, connectTimeout: 10_000, ...options });
  client.inbox = [];
  client.on("message", (topic, payload, packet) => client.inbox.push({ topic, payload: payload.toString(), packet }));
  client.connack = (await Promise.race([once(client, "connect"), once(client, "error").then(([e]) => { throw e; })]))[0];
  return client;
}

async function received(client, count) {
  while (client.inbox.length < count) await once(client, "message");
  return client.inbox.splice(0, count);
}

const reader = await join();
const writer = await join();
tell("connected", { session: reader.connack.sessionPresent });

for (const qos of [0, 1, 2]) {
  const [granted] = await reader.subscribeAsync(`js/${qos}/+`, { qos });
  assert.equal(granted.qos, qos);
  const many = Array.from({ length: 200 }, (_, number) => writer.publishAsync(`js/${qos}/a`, `${number}`, { qos }));
  const got = await received(reader, 200);
  await Promise.all(many);
  assert.deepEqual(got.map((each) => each.payload), Array.from({ length: 200 }, (_, number) => `${number}`));
  assert.ok(got.every((each) => each.packet.qos === qos && !each.packet.retain));
  await reader.unsubscribeAsync(`js/${qos}/+`);
  tell("delivered", { qos });
}

await writer.publishAsync("js/kept", "21.4", { qos: 1, retain: true });
await reader.subscribeAsync("js/#", { qos: 2 });
const [kept] = await received(reader, 1);
assert.deepEqual([kept.topic, kept.payload, kept.packet.retain, kept.packet.qos], ["js/kept", "21.4", true, 1]);
await writer.publishAsync("js/kept", "", { qos: 1, retain: true });
await received(reader, 1);
tell("retained");

const large = "x".repeat(200_000);
await writer.publishAsync("js/large", large, { qos: 2 });
assert.equal((await received(reader, 1))[0].payload, large);
tell("large");

const doomed = await join({ will: { topic: "js/will", payload: "offline", qos: 1, retain: false } });
doomed.stream.destroy();
assert.equal((await received(reader, 1))[0].payload, "offline");
tell("will");

const session = { clientId: `js-session-${protocolVersion}`, clean: false };
if (v5) session.properties = { sessionExpiryInterval: 300 };
const before = await join(session);
assert.equal(before.connack.sessionPresent, false);
await before.subscribeAsync("meanwhile", { qos: 1 });
await before.endAsync();
await writer.publishAsync("meanwhile", "1", { qos: 1 });
await writer.publishAsync("meanwhile", "2", { qos: 1 });
const after = await join(session);
assert.equal(after.connack.sessionPresent, true);
assert.deepEqual((await received(after, 2)).map((each) => each.payload), ["1", "2"]);
await after.endAsync();
await (await join({ ...session, clean: true, properties: undefined })).endAsync();
tell("session");

if (v5) {
  const properties = {
    userProperties: { agent: "kitchen", seq: "9" },
    messageExpiryInterval: 600,
    contentType: "text/plain",
    responseTopic: "answers",
    correlationData: Buffer.from("c1"),
    payloadFormatIndicator: true,
  };
  await reader.unsubscribeAsync("js/#");
  await reader.subscribeAsync("js/#", { qos: 1, properties: { subscriptionIdentifier: 7 } });
  await writer.publishAsync("js/properties", "21.4", { qos: 1, properties });
  const [{ packet }] = await received(reader, 1);
  const { messageExpiryInterval, subscriptionIdentifier, ...same } = packet.properties;
  assert.ok(messageExpiryInterval >= 598 && messageExpiryInterval <= 600);
  assert.equal(subscriptionIdentifier, 7);
  assert.deepEqual({ ...same, userProperties: { ...same.userProperties } }, {
    userProperties: properties.userProperties,
    contentType: "text/plain",
    responseTopic: "answers",
    correlationData: properties.correlationData,
    payloadFormatIndicator: true,
  });
  tell("properties");
}

await reader.endAsync();
await writer.endAsync();
tell("done");
