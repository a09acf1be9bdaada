// An OpenID provider for tests: `node provider.mjs PORT`, on loopback. Its forms take any password; `POST /rotate` makes a new
// key, which signs from then on, and forgets the oldest of three.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
// Machines may say whom their token is to be for (`audience`), and for how many seconds after a slash: `kafka/6`.
// What the shop is called here, and what people and machines are trusted to do there.
const audience = "shop-api";
const roles = { sam: ["support"], kim: ["shop-keepers"], "catalogue-keeper": ["shop-keepers"] };
const clients = [
  {
    client_id: "shop-web",
    application_type: "native",
    token_endpoint_auth_method: "none",
    redirect_uris: ["http://127.0.0.1/signed-in"],
  },
  {
    client_id: "catalogue-keeper",
    client_secret: "what-the-keeper-knows",
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
  },
  {
    client_id: "shop-kafka",
    client_secret: "what+kafka/is: told",
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
  },
];
const cookies = { keys: [randomUUID()] };

let keys = [];
let answer;

// Sessions and codes outlive the keys: the store of oidc-provider is one for the whole process.
function rotate() {
  const kinds = [["ES256", "ec", { namedCurve: "P-256" }], ["RS256", "rsa", { modulusLength: 2048 }]];
  // The two kinds take turns.
  const [alg, kind, options] = kinds[(keys.length && keys[0].alg === "ES256") ? 1 : 0];
  const key = generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" });
  keys = [{ ...key, alg, use: "sig", kid: randomUUID() }, ...keys].slice(0, 3);
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients,
    cookies,
    scopes: ["openid", "shop"],
    clientDefaults: { id_token_signed_response_alg: alg },
    enabledJWA: { idTokenSigningAlgValues: ["ES256", "RS256"] },
    findAccount: (_, name) => ({ accountId: name, claims: () => ({ sub: name }) }),
    extraTokenClaims: (_, token) => ({ roles: roles[token.accountId ?? token.clientId] ?? [] }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (context) => `urn:${context.oidc.body?.audience ?? audience}`,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => {
          const [audience, seconds] = resource.replace(/^urn:/, "").split("/");
          return {
            scope: "shop",
            audience,
            accessTokenTTL: Number(seconds ?? 600),
            accessTokenFormat: "jwt",
            jwt: { sign: { alg, kid: keys[0].kid } },
          };
        },
      },
    },
  });
  answer = provider.callback();
}

rotate();
createServer((request, response) => {
  if (request.method === "POST" && request.url === "/rotate") {
    rotate();
    response.end(keys[0].kid);
  } else {
    answer(request, response);
  }
}).listen(port, "127.0.0.1");
