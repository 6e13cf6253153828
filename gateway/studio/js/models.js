/** About models: words, order, search, whether one can do an edit. No page, no network. */

export const TIERS = [
	{ id: 'budget', label: 'Budget', about: 'drafts and everyday edits' },
	{ id: 'mid', label: 'Mid', about: 'client-ready work' },
	{ id: 'premium', label: 'Premium', about: 'final, large or difficult' },
];
const OFF = { id: 'off', label: 'Not configured', about: 'the provider has no key here' };
/** Exclusions that a person may overrule. */
const SOFT = new Set(['status', 'basic', 'deadline', 'circuit_open', 'max_cost', 'not_pinned', 'quality']);
const REDRAWING = new Set(['general_edit', 'inpaint', 'search_replace', 'search_recolor', 'relight']);

export const byId = (models, id) => models.find((model) => model.id === id);
export const tierLabel = (tier) => TIERS.find((one) => one.id === tier)?.label ?? tier;

export const providerLabel = (id) => (id ?? '').split(/[-_]/).map(sentence).join(' ');

export function initials(name) {
	const words = name.replace(/[^\p{L}\p{N} ]/gu, ' ').split(/\s+/).filter(Boolean);
	return ((words[0]?.[0] ?? '') + (words[1]?.[0] ?? words[0]?.[1] ?? '')).toUpperCase();
}

export function sideLabel(model) {
	const side = Math.max(...model.max_resolution);
	if (side >= 7680) return '8K';
	if (side >= 3840) return '4K';
	return `${side} px`;
}

/** Whether the model works at a smaller size; its result is scaled back. */
export function worksSmaller(model, image) {
	if (!image) return false;
	const tooWide = Math.max(image.width, image.height) > Math.max(...model.max_resolution);
	return tooWide || (model.max_pixels !== null && image.width * image.height > model.max_pixels);
}

/** Or null. @param {{operation: string, excluded: Object[]}} edit */
export function blockedBecause(model, { operation, excluded = [] }) {
	if (!model.operations.includes(operation)) return 'Cannot do this kind of edit';
	if (!model.available) return 'Its provider is not configured';
	if (model.status === 'retired') return 'Is retired';
	const found = excluded.find((one) => one.model_id === model.id);
	if (!found || SOFT.has(found.code)) return null;
	if (found.code === 'resolution' && REDRAWING.has(operation)) return null;
	return sentence(found.why);
}

export const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

export function matches(model, query) {
	const words = query.toLowerCase().split(/\s+/).filter(Boolean);
	if (!words.length) return true;
	const about = [model.name, model.id, model.provider, model.description, model.tier, ...model.features, ...model.use_cases, ...model.capabilities];
	const text = about.join(' ').replaceAll('_', ' ').toLowerCase();
	return words.every((word) => text.includes(word));
}

const byCost = (a, b) => a.cost - b.cost || a.name.localeCompare(b.name);

/** By tier: those that are able first, then by cost; unconfigured ones last. @param {function(Object): boolean} able */
export function grouped(models, able) {
	const order = (a, b) => Number(able(b)) - Number(able(a)) || byCost(a, b);
	const groups = [...TIERS, OFF].map((tier) => ({
		...tier,
		models: models.filter((model) => (model.available ? model.tier : 'off') === tier.id).sort(order),
	}));
	return groups.filter((group) => group.models.length);
}

const VALUES = {
	name: (model) => model.name.toLowerCase(),
	tier: (model) => TIERS.findIndex(({ id }) => id === model.tier),
	cost: (model) => model.cost,
	time: (model) => model.performance?.p50_s ?? Infinity,
	side: (model) => Math.max(...model.max_resolution),
	references: (model) => model.max_images - 1,
};

export function sorted(models, column, up) {
	const value = VALUES[column];
	const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
	return [...models].sort((a, b) => (up ? order(a, b) : order(b, a)) || byCost(a, b));
}

export function passes(model, filter, { image, operation, excluded }) {
	return (
		matches(model, filter.query) &&
		(!filter.tiers.size || filter.tiers.has(model.tier)) &&
		(!filter.able || !blockedBecause(model, { operation, excluded })) &&
		(!filter.fullSize || !worksSmaller(model, image)) &&
		(!filter.references || model.max_images > 1) &&
		(!filter.lettering || model.capabilities.some((one) => ['text_edit', 'typography'].includes(one))) &&
		model.cost <= filter.upTo
	);
}

export function timeLabel(performance) {
	const p50 = performance?.p50_s ?? null;
	return p50 === null ? '–' : secondsLabel(p50, performance.p90_s);
}

export function secondsLabel(p50, p90) {
	const round = (s) => (s < 10 ? Math.max(0.1, Math.round(s * 10) / 10) : Math.round(s));
	if (!p90 || round(p90) === round(p50)) return `${round(p50)} s`;
	return `${round(p50)}–${round(p90)} s`;
}
