// A certified OpenID provider for the tests of sign-in: `node provider.mjs SETTINGS`, where SETTINGS is
// JSON: { port, issuer, clientId, clientSecret, redirectUri, claimsInIdToken, people: { NAME: CLAIMS }, tls }.
// PKCE is demanded, consent is given. Who signs in is said by the test: GET …/interaction/UID/as/NAME,
// and …/interaction/UID/refuse refuses. Says "ready" once it listens.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import Provider from 'oidc-provider';

const settings = JSON.parse(process.argv[2]);

const provider = new Provider(settings.issuer, {
  clients: [
    {
      client_id: settings.clientId,
      client_secret: settings.clientSecret,
      redirect_uris: [settings.redirectUri],
      grant_types: ['authorization_code'],
      response_types: ['code'],
    },
  ],
  scopes: ['openid', 'email', 'groups'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
  conformIdTokenClaims: !settings.claimsInIdToken,
  features: { devInteractions: { enabled: false } },
  pkce: { required: () => true },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(_, id) {
    const claims = settings.people[id];
    return claims && { accountId: id, claims: async () => ({ sub: id, ...claims }) };
  },
  async loadExistingGrant(ctx) {
    const { client, session, provider: own } = ctx.oidc;
    const grant = new own.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope('openid email groups');
    await grant.save();
    return grant;
  },
});

const answer = provider.callback();
const listener = (request, response) => {
  const found = /^\/interaction\/[^/]+\/(?:as\/([a-z]+)|(refuse))$/.exec(request.url);
  if (!found) {
    answer(request, response);
    return;
  }
  const outcome = found[2]
    ? { error: 'access_denied', error_description: 'the person refused' }
    : { login: { accountId: found[1] } };
  provider
    .interactionFinished(request, response, outcome, { mergeWithLastSubmission: false })
    .catch((error) => {
      response.statusCode = 400;
      response.end(String(error));
    });
};
const server = settings.tls
  ? https.createServer(
      { cert: readFileSync(settings.tls.certificate), key: readFileSync(settings.tls.key) },
      listener,
    )
  : http.createServer(listener);
server.listen(settings.port, '127.0.0.1', () => console.log('ready'));
