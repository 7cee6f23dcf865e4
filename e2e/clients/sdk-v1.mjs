// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// The TypeScript SDK v1, which speaks the protocol with sessions, as a client.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { drive, headers, plan } from './drive.mjs';

const client = new Client({ name: plan.name, version: plan.version });
const transport = plan.url
	? new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers } })
	: new StdioClientTransport({ command: plan.command });
await drive(client, transport);
