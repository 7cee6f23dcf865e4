// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// What both TypeScript clients are made to do. It is one function, because both have
// the same methods; each of them is connected in a file of its own.

// The plan is the one argument, as JSON:
//
//	url          of the server, or:
//	command      path of a program that serves on stdio
//	token        sent as a bearer token, if there is one
//	name         what the client calls itself
//	version      of the client, as it says
//	protocol     version of MCP that it is to speak
//	traceparent  put into the _meta of every request after the handshake
//	calls        [{method, params}], made one after the other
export const plan = JSON.parse(process.argv[2]);

const methods = {
	'tools/list': 'listTools',
	'tools/call': 'callTool',
	'prompts/get': 'getPrompt',
	'resources/read': 'readResource',
};

// drive prints, as JSON, one answer for each call, {result} or {error}; or the error
// that connecting ended with.
export async function drive(client, transport) {
	try {
		await client.connect(transport);
	} catch (e) {
		await client.close();
		console.log(JSON.stringify({ error: say(e) }));
		return;
	}
	const answers = [];
	for (const { method, params } of plan.calls) {
		const request = { ...params, _meta: { traceparent: plan.traceparent } };
		try {
			answers.push({ result: await client[methods[method]](request) });
		} catch (e) {
			answers.push({ error: say(e) });
		}
	}
	// Over HTTP a session only ends when the client says so.
	await transport.terminateSession?.();
	await client.close();
	console.log(JSON.stringify({ answers }));
}

const say = (e) => `${e} (${[e.code, e.status].filter(Boolean)})`;

// headers are what every HTTP request of the client is sent with.
export const headers = plan.token ? { Authorization: `Bearer ${plan.token}` } : {};
