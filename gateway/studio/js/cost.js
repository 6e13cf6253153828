/** Money: what an edit will cost, what is left. No page, no network. */

/** "$0.04", "$0.035", "Free"; unknown: a dash. */
export function money(usd) {
	if (usd === null || usd === undefined || Number.isNaN(usd)) return '–';
	if (usd === 0) return 'Free';
	if (usd < 0.0001) return 'under $0.0001';
	const [whole, part] = usd.toFixed(usd >= 1 ? 2 : usd >= 0.01 ? 3 : 4).split('.');
	return `$${whole}.${part.replace(/0+$/, '').padEnd(2, '0')}`;
}

/** "2.0× more", "50 % less" or "=" against another price. */
export function ratio(usd, other) {
	if (usd === other) return '=';
	if (!other || !usd) return usd > other ? 'more' : 'free';
	return usd > other ? `${(usd / other).toFixed(1)}× more` : `${Math.round((1 - usd / other) * 100)} % less`;
}

/** From the model's table, if that is known; else its ordinary price. */
export function priceOf(model, details, options = {}, image = null) {
	if (!details) return model.cost;
	const chosen = (name) => options[name] ?? details.parameters.properties[name]?.default;
	const row = details.pricing.find(({ when }) => Object.entries(when).every(([name, value]) => String(chosen(name)) === value));
	const usd = row?.usd ?? model.cost;
	return image && details.price_unit === 'megapixel' ? (usd * image.width * image.height) / 1e6 : usd;
}

/** Of the tighter limit, or null without any. @param {Object|null} usage answer of `…/usage` */
export function budgetOf(usage) {
	const periods = Object.entries(usage?.spending ?? {}).filter(([, period]) => period.limit !== null);
	if (!periods.length) return null;
	const [name, period] = periods.reduce((a, b) => (b[1].left < a[1].left ? b : a));
	const used = period.limit > 0 ? Math.min(1, Math.max(0, 1 - period.left / period.limit)) : 1;
	return { period: name === 'daily' ? 'today' : 'this month', limit: period.limit, left: Math.max(0, period.left), used };
}
