// Calls a server as web pages do, with both clients that they have, and prints what came of each call as a line of JSON.
// usage: node client.mjs http://127.0.0.1:8083

import { create, createFileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import grpcWeb from "grpc-web";
import xhr2 from "xhr2";

const url = process.argv[2];
const NAME = "shop.product.v1.ProductService";

function say(client, call, numbers, error) {
  const code = error ? error.code : 0;
  const message = error ? (error.rawMessage ?? error.message) : "";
  console.log(JSON.stringify({ client, call, numbers: numbers.map(Number), code, message }));
}

// Connect has its methods from a description.
const number = [{ name: "id", number: 1, type: 3, label: 1, jsonName: "id" }];
const method = (name, serverStreaming) => ({ name, inputType: ".shop.product.v1.N", outputType: ".shop.product.v1.N", serverStreaming });
const file = create(FileDescriptorProtoSchema, {
  name: "numbers.proto",
  package: "shop.product.v1",
  syntax: "proto3",
  messageType: [{ name: "N", field: number }],
  service: [{ name: "ProductService", method: [method("Twice", false), method("Count", true)] }],
});
const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
const connect = createClient(registry.getService(NAME), createGrpcWebTransport({ baseUrl: url }));

async function connected(call, ask) {
  const numbers = [];
  try {
    for await (const answer of ask()) numbers.push(answer.id);
    say("connect", call, numbers);
  } catch (error) {
    say("connect", call, numbers, ConnectError.from(error));
  }
}

async function* once(promise) {
  yield await promise;
}

await connected("Twice", () => once(connect.twice({ id: 21n })));
await connected("Count", () => connect.count({ id: 3n }));
await connected("late", () => once(connect.twice({ id: 1n }, { timeoutMs: 10_000 })));

// Google's has XMLHttpRequest, and writes messages as it is told: here a field of one number below 128.
globalThis.XMLHttpRequest = xhr2.XMLHttpRequest;
const write = (id) => Uint8Array.of(8, id);
const read = (bytes) => bytes[1];

for (const format of ["binary", "text"]) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const described = (name, type) =>
    new grpcWeb.MethodDescriptor(`/${NAME}/${name}`, type, Number, Number, write, read);
  for (const name of ["Twice", "Fail"]) {
    await new Promise((done) => {
      client.rpcCall(`${url}/${NAME}/${name}`, 21, {}, described(name, "unary"), (error, answer) => {
        say(format, name, error ? [] : [answer], error);
        done();
      });
    });
  }
  // It streams text alone.
  if (format === "binary") continue;
  await new Promise((done) => {
    const numbers = [];
    const stream = client.serverStreaming(`${url}/${NAME}/Count`, 3, {}, described("Count", "server_streaming"));
    stream.on("data", (answer) => numbers.push(answer));
    stream.on("error", (error) => {
      say(format, "Count", numbers, error);
      done();
    });
    stream.on("end", done);
  });
}
