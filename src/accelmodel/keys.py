"""The dictionary of keys: what a key of a file, or an option of that name, means, in what unit, and what holds without it; once.

Keys of scenarios that are columns too mean what `columns` says of them. What is peculiar to one table (a `low`, a `kind`) is said where the table is declared.
"""

from __future__ import annotations

from accelmodel.columns import COLUMNS

# Of every file
_ANY = {
    "name": "what it is called",
    "title": "what people call it",
    "aliases": "other names that mean the same",
    "date": "the day, month or year when it held",
    "source": "a key of sources.toml",
    "note": "what a reader should know",
}

# Of scenarios, and of the options of commands
_OF_SCENARIOS = {
    # The replica
    "model": "name, alias or path of a model; a Hugging Face config.json works",
    "system": "name, alias or path of a system",
    "engine": "serving engine, by name or alias",
    "mode": "how requests are batched: continuous, static, disaggregated",
    "draft_model": "model that drafts, by name or path",
    # The load
    "workload": "workload by name or path: lengths of requests and prefix hits, in place of input_tokens, output_tokens and prefix_hit_fraction",
    "requests_per_s": "requests that arrive per second, instead of concurrency",
    "ttft_s": "target of the mean time to first token; without a load: the largest load that meets it",
    "tpot_s": "target of the mean time per output token, likewise",
    "prefix_cache": "workload with a measured curve of prefix hits: what the spare KV pool serves of it, instead of prefix_hit_fraction",
    "input_variation": "coefficient of variation of input tokens (lognormal) of requests that are drawn",
    "output_variation": "coefficient of variation of output tokens (lognormal) of requests that are drawn",
    "burstiness": "coefficient of variation of the times between arrivals that are drawn; 1 is Poisson",
    "seed": "seed of what is drawn",
    # The money
    "offer": "a price, or two: by the hour (on-demand, an id) and by the token (a service, an id)",
    "tier": "tier of a token price: standard, batch, flex, priority, long (more input than the standard price covers)",
    "books": "whose books: cloud (owns and sells), tenant (rents and sells) or self (serves itself)",
    "site": "site by name or path, for tariff and PUE",
    "owner": "whose cost of ownership, by name or path",
    "attribution": "how cost is shared out among input, cached input and output: device-time, price-weights, blended, output-only",
    "purchase_usd": "purchase price of an accelerator with its share of the server",
    # A demand and its traffic
    "tokens_per_day": "tokens demanded per day, input and output in the situation's mix; or requests_per_day, or users",
    "requests_per_day": "requests demanded per day, of the situation's lengths; or tokens_per_day, or users",
    "users": "people who hold conversations; or tokens_per_day, or requests_per_day",
    "sessions_per_user_day": "conversations of a user a day",
    "turns_per_session": "requests of a conversation; the context grows by turn",
    "input_tokens_per_turn": "tokens that a user adds in a turn",
    "output_tokens_per_turn": "tokens that the model answers in a turn",
    "system_prompt_tokens": "tokens that stand before a conversation",
    "context_hit_fraction": "share of what was sent before that is still in the prefix cache",
    "shape": "shape of the load through a day or a week, by name or path; or peak_to_mean",
    "peak_to_mean": "rate at the peak over the mean; or a shape",
    "percentile": "percentage of the requests that meet the latency targets, in simulation",
    "window_s": "length of the busiest stretch in which they must meet them",
    "routing": "how a request finds its replica in simulation",
    "prefix_cache_tokens": "prefix cache of a replica, where the trace has prefixes; 0: none",
    "headroom_fraction": "share of the replicas that is left for bursts and queueing",
    "maintenance_fraction": "share of the replicas that is drained for maintenance",
    "availability_target_fraction": "probability with which enough of the rest is up",
    "spares_service_fraction": "probability with which a spare is at hand when something fails",
    "correlated_accelerators": "accelerators that fail at once with what systems share",
    # Studies
    "cases": "cases to run over",
    "case": "case that is asked about",
    "against": "cases that it is set against",
    "columns": "columns of the result, in order",
    "outcome": "column that is asked about",
    "reference": "reference of published figures that the results are set beside, by name or path",
    "overhead_fraction": "overheads as a share of revenue: what operating margin is below gross margin",
    "cost_of_capital_fraction": "yearly rate at which money of later is discounted and capital is recovered",
    "tax_fraction": "tax on profit",
    "years": "years looked ahead, over which changes compound",
    "ramp_years": "years until what is bought carries its full load, rising evenly",
    "price_change_fraction_per_year": "yearly change of a price, compounding; -0.3: 30 % less each year",
    "equipment_price_change_fraction_per_year": "yearly change of the purchase price of equipment, compounding",
    "growth_fraction_per_year": "yearly growth of the demand, compounding; 0.5: half as much again each year",
    "price_cuts": "falls of the price of tokens at once, beside the yearly change",
    "power_diversity_fraction": "draw at the peak over the sum of the systems' all-in power",
    "trace": "requests of a file (arrival_s, input_tokens, output_tokens), or a shipped trace by name",
    "trace_rate_factor": "the trace's requests come at so many times their rate",
    "slices": "edges of lengths by which the workload's trace is cut into parts that are placed apart",
    "survives_region_loss": "whether the other regions carry the workload's whole peak when one region is lost",
    "purchase_fractions": "shares of the fleet that are bought, quarter by quarter",
    "speedup_fraction_per_year": "yearly rise of the tokens that the same hardware serves as its software learns, compounding",
    "progress_fraction": "share of its price that each doubling of what has been bought leaves; 1: no learning",
    "objective": "least cost, or greatest margin: demand that does not pay then stays unserved",
    "gap_fraction": "how much lower the best plan may be for the solver to stop",
    "scale": "how steps are spaced: linear (evenly) or log (by a constant ratio)",
}
_HELD_WITHOUT = {
    "accelerators": "the whole system",
    "tensor_parallel": "all ranks that remain",
    "pipeline_parallel": "1",
    "expert_parallel": "1",
    "attention_data_parallel": "1",
    "context_parallel": "1",
    "weights": "as published",
    "kv": "bf16",
    "compute": "as fast as the weights allow",
    "engine": "the usual one of the accelerator",
    "mode": "continuous",
    "chunk_tokens": "the calibration's",
    "compiled_batch": "no fixed batch",
    "sequence_bucket": "no padding",
    "prompt_bucket": "no padding",
    "speculative_tokens": "0",
    "acceptance_fraction": "an error if tokens are drafted",
    "draft_model": "the model's own multi-token prediction",
    "power_cap_w": "none",
    "prefix_hit_fraction": "0",
    "offer": "the cost of ownership, and nothing sold",
    "tier": "standard",
    "books": "tenant with an offer by the hour, else cloud",
    "occupancy": "the owner's",
    "attribution": "device-time",
    "purchase_usd": "the owner's",
    "cases": "all of them, or the base alone",
    "case": "the base alone",
    "against": "no other",
    "reference": "nothing published",
    "overhead_fraction": "the owner's",
    "cost_of_capital_fraction": "the owner's",
    "tax_fraction": "the owner's",
    "price_cuts": "none",
    "headroom_fraction": "the default, or what the traffic's bursts take,",
    "prefix_cache_tokens": "what the KV pool spares",
    "system_prompt_tokens": "none",
    "context_hit_fraction": "1",
    "trace": "requests are drawn",
    "slices": "one part",
}

# Of entries of the catalogue
_OF_ENTRIES = {
    "figures": "the entry's own figures, each with value, unit, kind and source",
    "base": "name of the entry that this one starts from",
    "unit": "unit as printed, such as GB/s; of the dimension that the figure has",
    "value": "the number as printed, in its unit",
    "formula": "how a derived number follows from published ones",
    "kind": "how the number is known: published, measured, derived (with its formula) or estimated (with low and high)",
    "accessed": "the day on which the source was opened",
    "publisher": "who published it",
    "url": "where it is on the web",
    "locator": "where it is, if not on the web: a book, a talk, a file",
    "confidence": "how sure the source is: official (the maker or seller), press, analyst, own (measured or gathered here)",
    "alternatives": "other published values of the same figure",
    # Hardware
    "vendor": "who designs the chip",
    "provider": "who sells it",
    "stack": "software stack: decides which calibration holds",
    "generation": "architecture by which calibrations tell accelerators apart",
    "launched": "the day, month or year of general availability",
    "process": "process that it is made in",
    "link": "name and shape of the links between chips",
    "derivation": "how a derived profile follows from another",
    "accelerator": "name of the accelerator that it holds",
    "sold_within": "name of the larger system as part of which alone it is sold",
    "scale_up": "levels of the network within the system, the innermost first",
    "topology": "shape of the network at this level",
    "factors": "numbers by which figures or parameters are multiplied, by name",
    "scaled": "figure = the factor that multiplies it",
    "taken": "figure = the profile that it is taken from",
    "peak_bf16": "dense peak rate in BF16",
    "peak_fp8": "dense peak rate in FP8",
    "peak_fp4": "dense peak rate in FP4",
    "peak_int8": "dense peak rate in INT8",
    "peak_fp32": "dense peak rate in FP32",
    "sparse_bf16": "peak rate in BF16 with structured sparsity; not computed with",
    "sparse_fp8": "peak rate in FP8 with structured sparsity; not computed with",
    "sparse_fp4": "peak rate in FP4 with structured sparsity; not computed with",
    "hbm_bandwidth": "bandwidth of the accelerator's memory",
    "dma_bandwidth": "bandwidth of the accelerator's DMA engines",
    "sram_capacity": "on-chip memory",
    "vcpus": "virtual CPUs of the host",
    "host_memory": "memory of the host",
    "network_bandwidth": "network of the system to others, one way",
    "total_hbm_capacity": "memory of all accelerators together, as printed",
    "total_hbm_bandwidth": "memory bandwidth of all accelerators together, as printed",
    "total_peak_bf16": "dense BF16 rate of all accelerators together, as printed",
    "total_peak_fp8": "dense FP8 rate of all accelerators together, as printed",
    "total_peak_fp4": "dense FP4 rate of all accelerators together, as printed",
    "it_power": "all-in IT power, cooling outside the rack not included",
    # Prices
    "currency": "currency that prices are stated in",
    "service": "service that sells the tokens",
    "region": "region where it is sold",
    "term": "for how long and on what terms one buys",
    "date_note": "what the date is the date of, where that is not plain",
    "history": "whether these are past prices, which a bare term never means",
    "longest_term_days": "longest term of one purchase",
    "largest_count": "most systems of one purchase; no limit where absent",
    "terms_source": "a key of sources.toml, of the limits of a purchase",
    "fraction": "share of the price that is taken off",
    "input": "price of uncached input [USD/Mtok]",
    "output": "price of output [USD/Mtok]",
    "cache_read": "price of input that is read from a cache [USD/Mtok]",
    "cache_write": "price of input that is written to a cache [USD/Mtok]",
    **{f"{tier}_{side}": f"price of {side} in the {tier} tier [USD/Mtok]" for tier in ("batch", "flex", "priority") for side in ("input", "output")},
    "long_input": "price of input of a long request [USD/Mtok]",
    "long_output": "price of output of a long request [USD/Mtok]",
    "long_cache_read": "price of input of a long request that is read from a cache [USD/Mtok]",
    "long_cache_write": "price of input of a long request that is written to a cache [USD/Mtok]",
    "model_unit_usd_per_h": "price of a unit of provisioned throughput, without commitment",
    "model_unit_1_month_usd_per_h": "price of a unit of provisioned throughput, for a month",
    "model_unit_6_months_usd_per_h": "price of a unit of provisioned throughput, for six months",
    "max_input_tokens": "longest input that is taken",
    # Owners and sites
    "purchase": "purchase price per accelerator as part of a server, by accelerator",
    "cost_of_capital": "yearly rate at which capital is recovered",
    "server_life": "years over which a server is paid off",
    "network_life": "years over which the network is paid off",
    "facility_life": "years over which the building is paid off",
    "spare_fraction": "servers bought as spares over those in use",
    "availability": "share of the hours in which an accelerator is up",
    "residual_fraction": "share of the purchase price that is left at the end of life",
    "repair_time": "time until a failed accelerator is replaced",
    "host_repair_time": "time until a failed host serves again",
    "country": "country",
    "state": "state or province",
    "cloud_region": "cloud region that stands there",
    "phases": "phases of construction, in order",
    "hour_classes": "hours that are billed alike, such as on-peak and off-peak; one tariff where absent",
    "hours": "values by hour",
    "tariff": "price of electricity",
    "pue": "power usage effectiveness: draw at the meter over IT power, a ratio from 1 up",
    # Loads
    "input_tokens": "input tokens of a request, cached ones included, mean",
    "output_tokens": "output tokens of a request, mean",
    "cache": "size of the cache",
    "statements": "claims that are no numbers",
    "text": "what is claimed",
    # Calibrations and readings
    "stacks": "software stacks that it holds for",
    "fitted_on": "measurements that it was fitted on, in words",
    "default_engine": "serving engine that is meant where none is named",
    "parameters": "efficiencies, overheads and fractions of the step model",
    "engines": "serving engines, each with what it multiplies",
    "generations": "what generations of accelerators multiply, by parameter",
    "measured": "generations of accelerators that were measured; to every other one the parameters are carried over, and its results say extrapolated",
    "spreads": "how far measurements lie from predictions, by what was measured",
    "errors": "errors on left-out groups, by metric",
    "correlations": "the stronger correlations of fitted parameters",
    "time_to_first_token": "half-width, as a factor, for the time to first token",
    "time_per_output_token": "half-width, as a factor, for the time per output token",
    "throughput": "half-width, as a factor, for tokens per second",
    "rows": "measurements that were compared",
    "median": "median of |predicted / measured - 1|",
    "mean": "mean of |predicted / measured - 1|",
    "p90": "90th percentile of |predicted / measured - 1|",
    "between": "the two parameters",
    "dtypes": "dtype that a label of a measurement means",
    "readings": "assumptions, the first that holds for a row counts",
    "exclusions": "rows that are left out",
    "doubts": "rows that are predicted but not fitted on",
    "reason": "why, in words",
    "batch_above": "only rows of more than so many requests at a time",
    "engine": "serving engine that is assumed",
    "weights": "dtype of the weights that is assumed",
    "kv": "dtype of the KV cache that is assumed",
    "compute": "dtype of the arithmetic that is assumed",
    "free_parallelism": "whether the parallelism is unknown, so that the best counts",
    # Models
    "developer": "who made the model",
    "architecture": "sizes of the network",
    "hidden_size": "width of the hidden state",
    "vocab_size": "entries of the vocabulary",
    "tied_embeddings": "whether LM head and input embedding are one matrix",
    "max_context_tokens": "longest context",
    "groups": "groups of identical layers",
    "nextn": "modules of multi-token prediction; none where absent",
    "attention": "attention or state-space part of a layer; none where absent",
    "ffn": "feed-forward part of a layer; none where absent",
    "heads": "heads",
    "kv_heads": "heads of keys and values",
    "head_dim": "width of a head",
    "v_head_dim": "width of a head's values; that of the head where absent",
    "sparse": "indexer that picks what attention reads; all is read where absent",
    "q_lora_rank": "width through which queries are projected; straight where absent",
    "qk_nope_head_dim": "width of a head's queries and keys without rotary position",
    "key_heads": "heads of queries and keys",
    "value_heads": "heads of values",
    "conv_kernel": "taps of the short convolution",
    "state_dtype": "dtype of the recurrent state",
    "intermediate_size": "inner width",
    "gated": "whether there are three matrices (gate, up, down) or two (up, down)",
    "experts": "routed experts",
    "experts_per_token": "routed experts that one token uses",
    "expert_intermediate_size": "inner width of one routed expert",
    "index_heads": "heads of the indexer",
    "index_head_dim": "width of an indexer's head",
    "owned": "whether the layer has an indexer of its own",
}

_UNITS = {
    "_usd_per_accelerator_h": "USD/accelerator/h",
    "_usd_per_h": "USD/h",
    "_requests_per_s": "request/s",
    "_tokens_per_day": "token/day",
    "_requests_per_day": "request/day",
    "_per_accelerator_h": "1/accelerator/h",
    "_tokens": "token",
    "_tokens_per_turn": "token",
    "_usd": "USD",
    "_usd_per_quarter": "USD",
    "_days": "day",
    "_quarters": "quarter",
    "_years": "year",
    "_mw": "MW",
    "_w": "W",
    "_h": "h",
    "_s": "s",
}


def unit(key: str) -> str:
    """The unit that a key's name ends in; empty where it has none.

    >>> unit("budget_usd"), unit("tokens_per_day"), unit("occupancy")
    ('USD', 'token/day', '')
    """
    return next((told for ending, told in _UNITS.items() if f"_{key}".endswith(ending)), "")


def of_entry(key: str) -> str | None:
    """What a key of a catalogue's file means; None where the dictionary does not know it."""
    return _OF_ENTRIES.get(key) or _ANY.get(key)


def held_without(key: str) -> str:
    """What holds where a key of a scenario is absent; empty where the dictionary does not say."""
    return _HELD_WITHOUT.get(key, "")


def of_scenario(key: str, otherwise: str | None = None) -> str | None:
    """What a key of a scenario, or an option of its name, means, with its unit and with what holds without it; None where the dictionary does not know it.

    >>> of_scenario("kv")
    'dtype of the KV cache; bf16 where absent'
    >>> of_scenario("power_cap_w")
    'power limit of one accelerator [W]; none where absent'
    """
    column = COLUMNS.get(key)
    words = _OF_SCENARIOS.get(key) or (column.description if column else None) or _ANY.get(key)
    if words is None:
        return None
    measure = column.unit if column and column.unit != "1" else unit(key)
    held = otherwise or held_without(key)
    return words + (f" [{measure}]" if measure else "") + (f"; {held} where absent" if held else "")
