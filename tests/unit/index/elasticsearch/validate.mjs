// Prints what is wrong with requests to Elasticsearch by its published specification: JSON, a list of lines a request.
// Standard input has the requests, as JSON: [{method, path, query, headers, body}]. A body of NDJSON is a list.
// It is strict where the specification is open: an analyzer, a query, a type of field or a setting that the
// specification does not name is wrong here, though a plugin may bring one.
import { readFileSync } from "node:fs";

const PACKAGES = ["elasticsearch-8", "@elastic/request-converter"];
const INTEGERS = ["byte", "short", "integer", "long", "uint", "ulong"];
const ANYTHING = { kind: "user_defined_value" };

const read = (file) => JSON.parse(readFileSync(file, "utf8"));
const key = (name) => `${name.namespace}:${name.name}`;
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const wrong = (at, text) => [{ depth: at.length, text: `${at.join(".")}: ${text}` }];
const told = (value) => {
  if (isObject(value)) return "an object";
  return Array.isArray(value) ? "a list" : (JSON.stringify(value) ?? "nothing");
};

// Of what is wrong by each member of a union: nothing where one fits, else what the member that fits best says.
function fewest(members) {
  const shallowest = (errors) => Math.min(...errors.map((one) => one.depth));
  if (members.some((errors) => !errors.length)) return [];
  return members.sort((a, b) => shallowest(b) - shallowest(a) || a.length - b.length)[0];
}

class Specification {
  constructor(name) {
    const folder = `node_modules/${name}`;
    this.version = read(`${folder}/package.json`).version;
    const { types, endpoints } = read(`${folder}/dist/schema.json`);
    this.types = new Map(types.map((type) => [key(type.name), type]));
    // Here it knows one field an object, where Elasticsearch's documentation of highlighting has several.
    const { type } = this.types.get("_global.search._types:Highlight").properties.find((one) => one.name === "fields");
    for (const fields of type.items ?? []) fields.singleKey = false;
    this.routes = endpoints.flatMap((endpoint) => endpoint.urls.map((url) => ({ ...url, endpoint })));
    for (const route of this.routes) {
      // A name begins with _ only if it means something else, save _all.
      route.pattern = new RegExp(`^${route.path.replace(/\{\w+\}/g, "(_all|[^_/][^/]*)")}$`);
      route.names = route.path.split("{").length - 1;
    }
  }

  request({ method, path, query = {}, headers = {}, body = null }) {
    const routes = this.routes.filter((route) => route.pattern.test(path)).sort((a, b) => a.names - b.names);
    if (!routes.length) return wrong([`${method} ${path}`], "there is no such API");
    const route = routes.find((one) => one.methods.includes(method));
    const methods = [...new Set(routes.flatMap((one) => one.methods))];
    if (!route) return wrong([`${method} ${path}`], `there is only ${methods.join(", ")}`);
    const { endpoint } = route;
    const definition = this.types.get(key(endpoint.request));
    return [
      ...this.query(definition, query),
      ...(body === null ? [] : this.mediaType(endpoint, headers)),
      ...(body === null && endpoint.requestBodyRequired ? wrong(["body"], "is missing") : []),
      ...(body === null ? [] : this.body(definition, body)),
    ];
  }

  // A value in a URL is text: it may mean a number, a boolean or a list.
  query(definition, query) {
    const behaviors = (definition.attachedBehaviors ?? []).map((name) => this.types.get(`_spec_utils:${name}`));
    const properties = [definition.query, ...behaviors.map((one) => one.properties)].flat();
    const known = new Map(properties.map((property) => [property.name, property]));
    return Object.entries(query).flatMap(([name, text]) => {
      const at = ["query", name];
      if (!known.has(name)) return wrong(at, "there is no such parameter");
      const meanings = [text, text.split(",")];
      if (["", "true", "false"].includes(text)) meanings.push(text !== "false");
      if (text && Number.isFinite(Number(text))) meanings.push(Number(text));
      return fewest(meanings.map((value) => this.check(known.get(name).type, value, at)));
    });
  }

  mediaType({ requestMediaType: right = [] }, headers) {
    const [, sent = "none"] = Object.entries(headers).find(([name]) => name.toLowerCase() === "content-type") ?? [];
    if (!right.length || right.includes(sent.split(";")[0].trim())) return [];
    return wrong(["headers", "Content-Type"], `${sent}, not ${right.join(" or ")}`);
  }

  body(definition, body) {
    if (key(definition.name) === "_global.bulk:Request") return this.bulk(definition, body);
    if (definition.body.kind === "no_body") return wrong(["body"], "there can be none");
    if (definition.body.kind === "value") return this.check(definition.body.value, body, ["body"]);
    return this.properties(definition, definition.body.properties, body, ["body"], {});
  }

  // The specification knows an action, an update and a document, but not their order, and a document may be anything.
  bulk(definition, lines) {
    if (!Array.isArray(lines)) return wrong(["body"], "must be NDJSON");
    const [action, update] = definition.body.value.value.items;
    const errors = [];
    for (let i = 0; i < lines.length; i += 1) {
      errors.push(...this.check(action, lines[i], ["body", i]));
      const [name] = Object.keys(lines[i] ?? {});
      if (name === "delete") continue;
      i += 1;
      if (!isObject(lines[i])) errors.push(...wrong(["body", i], `the document for ${name} is missing`));
      else if (name === "update") errors.push(...this.check(update, lines[i], ["body", i]));
    }
    return errors;
  }

  // What is wrong with a value by a type of the specification. `bound` has what its generic parameters stand for.
  check(type, value, at, bound = {}) {
    switch (type.kind) {
      case "literal_value":
        return value === type.value ? [] : wrong(at, `must be ${JSON.stringify(type.value)}, not ${told(value)}`);
      case "array_of":
        if (!Array.isArray(value)) return wrong(at, `must be a list, not ${told(value)}`);
        return value.flatMap((one, i) => this.check(type.value, one, [...at, i], bound));
      case "union_of":
        return fewest(type.items.map((item) => this.check(item, value, at, bound)));
      case "dictionary_of": {
        if (!isObject(value)) return wrong(at, `must be an object, not ${told(value)}`);
        const names = Object.keys(value);
        if (type.singleKey && names.length !== 1) return wrong(at, `must have one key, not ${names.length}`);
        return names.flatMap((name) => this.entry(type, name, value[name], at, bound));
      }
      case "instance_of":
        return this.instance(type, value, at, bound);
      default:
        return [];
    }
  }

  entry(type, name, value, parent, bound) {
    const at = [...parent, name];
    return [...this.check(type.key, name, at, bound), ...this.check(type.value, value, at, bound)];
  }

  instance(type, value, at, bound) {
    const parameter = bound[key(type.type)];
    if (parameter) return this.check(parameter.type, value, at, parameter.bound);
    const { namespace, name } = type.type;
    if (namespace === "_builtins") {
      const is = value === null ? "null" : typeof value;
      return is === name || name === "binary" ? [] : wrong(at, `must be ${name}, not ${told(value)}`);
    }
    const definition = this.types.get(key(type.type));
    if (!definition) return []; // a parameter of the request: the document
    const inner = this.bind(definition, type.generics, bound);
    if (definition.kind === "interface") return this.properties(definition, [], value, at, inner);
    if (definition.kind === "enum") {
      const names = definition.members.flatMap((member) => [member.name, ...(member.aliases ?? [])]);
      const fits = definition.isOpen ? typeof value === "string" : ["string", "boolean"].includes(typeof value);
      if (fits && (definition.isOpen || names.includes(String(value)))) return [];
      return wrong(at, `${told(value)} is no ${name}: ${names.join(", ")}`);
    }
    if (INTEGERS.includes(name) && !Number.isInteger(value)) return wrong(at, `must be an integer, not ${told(value)}`);
    const tagged = definition.variants?.kind === "internal_tag" && isObject(value);
    return tagged ? this.tagged(definition, value, at, inner) : this.check(definition.type, value, at, inner);
  }

  // A union whose members differ in one property, such as `type`.
  tagged({ name, type, variants }, value, at, bound) {
    const { tag, defaultTag } = variants;
    const whole = { ...(defaultTag && { [tag]: defaultTag }), ...value };
    const members = type.items.filter((item) => {
      const property = this.all(this.types.get(key(item.type)), bound).known.get(tag);
      return property && !this.check(property.type, whole[tag], at, property.bound).length;
    });
    if (!members.length) return wrong([...at, tag], `${told(whole[tag])} is no ${name.name}`);
    return fewest(members.map((item) => this.check(item, whole, at, bound)));
  }

  bind(definition, generics = [], bound) {
    const names = definition.generics ?? [];
    return Object.fromEntries(names.map((name, i) => [key(name), { type: generics[i] ?? ANYTHING, bound }]));
  }

  // All properties of an interface, with those of its parents; and what its further properties are, if it has such.
  all(definition, bound, own = []) {
    const parent = definition.inherits && this.types.get(key(definition.inherits.type));
    const inherited = parent && this.all(parent, this.bind(parent, definition.inherits.generics, bound));
    const known = new Map(inherited?.known);
    for (const property of [...own, ...(definition.properties ?? [])]) {
      for (const name of [property.name, ...(property.aliases ?? [])]) known.set(name, { ...property, bound });
    }
    const behavior = definition.behaviors?.find((one) => one.type.name.startsWith("AdditionalProp"));
    if (!behavior) return { known, further: inherited?.further };
    const [names, type] = behavior.generics;
    // Where further properties are anything, they are for what the specification does not name.
    if (type.kind === ANYTHING.kind) return { known };
    return { known, further: { key: names, value: type, one: behavior.type.name === "AdditionalProperty", bound } };
  }

  properties(definition, own, value, at, bound) {
    const { name, shortcutProperty, variants } = definition;
    const { known, further } = this.all(definition, bound, own);
    if (!isObject(value)) {
      const short = known.get(shortcutProperty);
      return short ? this.check(short.type, value, at, bound) : wrong(at, `must be an object, not ${told(value)}`);
    }
    const names = Object.keys(value);
    const errors = names.flatMap((one) => {
      const property = known.get(one);
      if (property) return this.check(property.type, value[one], [...at, one], property.bound);
      if (further) return this.entry(further, one, value[one], at, further.bound);
      // A setting's name may have dots for what is nested.
      const [head, ...rest] = name.namespace === "indices._types" ? one.split(".") : [one];
      if (rest.length) return this.properties(definition, own, { [head]: { [rest.join(".")]: value[one] } }, at, bound);
      return wrong([...at, one], `${name.name} has no such property`);
    });
    for (const [one, property] of known) {
      const given = [one, ...(property.aliases ?? [])].some((alias) => names.includes(alias));
      if (property.required && one === property.name && !given) errors.push(...wrong([...at, one], "is missing"));
    }
    // A container has one property, or those that are the container's own, too. Others have one further property.
    const chosen = names.filter((one) => (variants ? !known.get(one)?.containerProperty : !known.has(one))).length;
    const none = chosen === 0 && !(variants && names.length);
    if ((variants || further?.one) && (chosen > 1 || none) && !errors.length) {
      return wrong(at, `${name.name} must have one of its keys, not ${chosen}`);
    }
    return errors;
  }
}

const specifications = PACKAGES.map((name) => new Specification(name));
const answers = read(0).map((request) =>
  specifications.flatMap((one) => one.request(request).map((error) => `${one.version}: ${error.text}`)),
);
console.log(JSON.stringify(answers));
