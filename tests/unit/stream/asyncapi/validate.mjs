// Prints what is wrong with an AsyncAPI document, a line each, with its severity (0: error); and the document, with all
// references in it, as JSON.
import { Parser, fromFile } from "@asyncapi/parser";

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
for (const one of diagnostics) console.error(`${one.severity} ${one.path.join(".")}: ${one.message}`);
console.log(JSON.stringify(document?.json() ?? null));
