// GraphiQL with our transports: queries over HTTP, subscriptions over
// graphql-transport-ws. The API key stays in this tab's session storage.
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { createClient } from 'graphql-ws';
import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import 'graphiql/style.css';
import './ide.css';

const stored = 'coai:apiKey';
const endpoint = new URL('../../graphql', import.meta.url); // this file is graphql/ide/ide.js

globalThis.MonacoEnvironment = {
  getWorker(_, label) {
    const name = label === 'json' || label === 'graphql' ? label : 'editor';
    return new Worker(new URL(`./${name}.worker.js`, import.meta.url));
  },
};

const example = `# Sign in with an API key above, then press Ctrl-Enter.
#
# A query:
query Me {
  viewer {
    id
    email
    tier
  }
}

# A stream, token by token:
subscription Hello {
  chatCompletion(
    input: {
      model: "echo"
      messages: [{ role: USER, content: { text: "Hello!" } }]
    }
  ) {
    choices {
      delta {
        content
      }
    }
  }
}
`;

const bearer = () => {
  const key = sessionStorage.getItem(stored);
  return key ? { Authorization: `Bearer ${key}` } : {};
};

function fetcherFor() {
  const url = endpoint.href;
  return createGraphiQLFetcher({
    url,
    // A key is asked for at each request, so that signing in needs no reload.
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init?.headers, ...bearer() } }),
    wsClient: createClient({
      url: url.replace(/^http/, 'ws'),
      connectionParams: () => {
        const { Authorization } = bearer();
        return Authorization ? { authorization: Authorization } : {};
      },
      lazyCloseTimeout: 0, // another key counts at the next operation
    }),
  });
}

function IDE() {
  const [key, setKey] = useState(sessionStorage.getItem(stored) ?? '');
  const [signedIn, setSignedIn] = useState(key);
  const signIn = (event) => {
    event.preventDefault();
    const value = key.trim();
    if (value) sessionStorage.setItem(stored, value);
    else sessionStorage.removeItem(stored);
    setSignedIn(value);
  };
  const [fetcher] = useState(fetcherFor);
  return (
    <>
      <form className="sign-in" onSubmit={signIn}>
        <label htmlFor="key">API key</label>
        <input
          id="key"
          type="password"
          autoComplete="off"
          placeholder="sk-coai-…"
          value={key}
          onChange={(event) => setKey(event.target.value)}
        />
        <button type="submit">{signedIn && signedIn === key.trim() ? 'Signed in' : 'Sign in'}</button>
        <a href="schema.graphql">schema.graphql</a>
        <a href="graphql/introspection.json">introspection.json</a>
      </form>
      {/* Another viewer may see another schema: the key makes it a new one. */}
      <GraphiQL key={signedIn} fetcher={fetcher} defaultQuery={example} shouldPersistHeaders={false} />
    </>
  );
}

createRoot(document.getElementById('root')).render(<IDE />);
