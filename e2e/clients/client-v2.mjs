// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// The TypeScript client v2, which speaks both eras of the protocol.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

import { drive, headers, plan } from './drive.mjs';

const mode = plan.protocol < '2026' ? 'legacy' : { pin: plan.protocol };
const client = new Client({ name: plan.name, version: plan.version }, { versionNegotiation: { mode } });
const transport = plan.url
	? new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers } })
	: new StdioClientTransport({ command: plan.command });
await drive(client, transport);
