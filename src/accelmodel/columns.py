"""The dictionary of variables: name, unit and description of every column, once. A column's name ends in its unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Type = Literal["float", "integer", "boolean", "string"]


@dataclass(frozen=True)
class Column:
    """One variable of a table."""

    name: str
    unit: str
    description: str
    type: Type = "float"

    @property
    def currency(self) -> str | None:
        """The currency of a column of money; None of any other."""
        return "USD" if self.unit.split("/")[0] == "USD" else None


_COLUMNS = (
    # The load
    Column("input_tokens", "token", "input tokens of a request, cached ones included"),
    Column("output_tokens", "token", "output tokens of a request"),
    Column("concurrency", "request", "requests in the system: clients of a closed loop"),
    Column("mean_target_concurrency", "request", "clients at which the closed form's means meet the targets"),
    Column("requests_per_s", "request/s", "requests per second, whole replica"),
    Column("prefix_hit_fraction", "1", "share of input tokens that a prefix cache serves"),
    Column("occupancy", "1", "share of the hours in which the replica carries this load"),
    # Latencies and rates
    Column("time_to_first_token_s", "s", "time to first token, mean over requests, waiting included"),
    Column("time_per_output_token_s", "s", "time per output token after the first, mean over requests"),
    Column("request_latency_s", "s", "time from arrival to last token, mean over requests"),
    Column("output_tokens_per_s", "token/s", "output tokens per second, whole replica"),
    Column("input_tokens_per_s", "token/s", "input tokens per second, whole replica, cached ones included"),
    Column("output_tokens_per_s_per_accelerator", "token/s", "output tokens per second per accelerator of the replica"),
    Column("output_tokens_per_s_per_user", "token/s", "output tokens per second that one user sees: 1 / time per output token"),
    Column("running_requests", "request", "requests being served"),
    Column("waiting_requests", "request", "requests that wait for the KV pool"),
    Column("kv_capacity_tokens", "token", "context tokens that the KV pool holds at this length, whole replica"),
    Column("weight_bytes_per_accelerator", "byte", "weights on one accelerator"),
    Column("fits", "1", "whether weights and at least one request fit into memory", "boolean"),
    Column("binding", "1", "what bounds the point: compute, memory, network, overhead or capacity", "string"),
    Column("prefill_time_fraction", "1", "share of the replica's time that goes to prefill"),
    Column("cached_time_fraction", "1", "share of the replica's time that goes to attending to cached input"),
    Column("calibrated", "1", "measured: this accelerator generation was measured; extrapolated: carried over from others", "string"),
    # Power
    Column("power_w", "W", "draw of the replica's accelerators at this load, hosts and cooling not included"),
    Column("energy_j_per_output_token", "J", "energy of the replica's accelerators per output token"),
    # Money
    Column("replica_cost_usd_per_h", "USD/h", "cost of the replica per hour, at its mean draw over loaded and idle hours"),
    Column("cost_usd_per_mtok_input", "USD/Mtok", "cost per million uncached input tokens, by device time unless another attribution is asked for"),
    Column("cost_usd_per_mtok_cached_input", "USD/Mtok", "cost per million cached input tokens, likewise"),
    Column("cost_usd_per_mtok_output", "USD/Mtok", "cost per million output tokens, likewise"),
    Column("cost_usd_per_mtok", "USD/Mtok", "cost per million tokens, input and output alike"),
    Column("revenue_usd_per_h", "USD/h", "revenue of the replica per hour at the offer's prices, at its occupancy"),
    Column("margin_fraction", "1", "gross margin of revenue: 1 - cost / revenue"),
    Column("cost_basis", "1", "what the cost rests on: an offer's id, or ownership", "string"),
    # A replica
    Column("case", "1", "named case of the scenario", "string"),
    Column("model", "1", "language model", "string"),
    Column("system", "1", "system", "string"),
    Column("accelerator", "1", "accelerator", "string"),
    Column("accelerators", "accelerator", "accelerators of the replica", "integer"),
    Column("engine", "1", "serving engine", "string"),
    Column("tensor_parallel", "1", "tensor-parallel ranks", "integer"),
    Column("expert_parallel", "1", "groups among which routed experts are dealt out", "integer"),
    Column("attention_data_parallel", "1", "groups of ranks that attend to different requests", "integer"),
    Column("pipeline_parallel", "1", "stages that the layers are dealt out to", "integer"),
    Column("context_parallel", "1", "ranks among which one request's tokens are dealt out", "integer"),
    Column("mode", "1", "how requests are batched: continuous, static, disaggregated", "string"),
    Column("weights", "1", "dtype of the weights (of routed experts where these differ)", "string"),
    Column("kv", "1", "dtype of the KV cache", "string"),
    # Keys of a situation that may be axes
    Column("ttft_s", "s", "target of the mean time to first token"),
    Column("tpot_s", "s", "target of the mean time per output token"),
    Column("workload", "1", "workload", "string"),
    Column("prefix_cache", "1", "workload whose curve of prefix hits is used", "string"),
    Column("offer", "1", "offers by name", "string"),
    Column("tier", "1", "tier of the token price", "string"),
    Column("site", "1", "site", "string"),
    Column("owner", "1", "owner", "string"),
    Column("attribution", "1", "convention by which cost is shared out among the streams of tokens", "string"),
    Column("compute", "1", "dtype of the arithmetic", "string"),
    Column("draft_model", "1", "model that drafts", "string"),
    Column("chunk_tokens", "token", "tokens of a prefill chunk"),
    Column("compiled_batch", "1", "sequences that a compiled step always runs", "integer"),
    Column("sequence_bucket", "token", "context tokens that a compiled step always attends to", "integer"),
    Column("prompt_bucket", "token", "tokens to a multiple of which prompts are padded", "integer"),
    Column("speculative_tokens", "token", "tokens drafted per step", "integer"),
    Column("acceptance_fraction", "1", "probability that a drafted token is accepted"),
    Column("power_cap_w", "W", "power limit of one accelerator"),
    # A fleet
    Column("fleet_accelerators", "accelerator", "accelerators of the fleet", "integer"),
    Column("systems", "1", "whole systems of the fleet", "integer"),
    Column("replicas", "1", "replicas that the fleet holds", "integer"),
    Column("lower_bound_replicas", "1", "replicas at the peak with no reserve at all", "integer"),
    Column("replicas_at_peak", "1", "replicas at the peak with headroom and drained ones", "integer"),
    Column("replicas_planned", "1", "replicas for the peak and its bursts, by the closed form", "integer"),
    Column("replicas_proven", "1", "replicas that meet the latency targets in the simulator", "integer"),
    Column("short_fraction", "1", "replicas proven over those planned, less one"),
    Column("lower_bound_accelerator_h_per_day", "accelerator h/day", "accelerator-hours of a day with no reserve at all"),
    Column("accelerator_h_per_day", "accelerator h/day", "accelerator-hours of a day"),
    Column("spare_accelerators", "accelerator", "accelerators on the shelf", "integer"),
    Column("mean_occupancy_fraction", "1", "mean demand over what all installed replicas could carry"),
    Column("stranded_accelerators", "accelerator", "accelerators that are in no replica", "integer"),
    Column("peak_fp8_eflop_per_s", "EFLOP/s", "dense FP8 peak of the fleet"),
    Column("it_power_mw", "MW", "all-in IT power of the fleet"),
    Column("facility_power_mw", "MW", "power of the fleet at the meter: IT power x PUE"),
    Column("it_power_of_phase_fraction", "1", "IT power over that of the site's first phase"),
    Column("facility_power_of_site_fraction", "1", "power at the meter over the site's ultimate draw"),
    Column("capital_usd", "USD", "capital: servers, network, spares, facility"),
    Column("annual_cost_usd", "USD/year", "cost of a year, every powered hour paid for"),
    Column("tokens_per_day", "token/day", "tokens carried a day, input and output"),
    Column("output_tokens_per_day", "token/day", "output tokens carried a day"),
    Column("annual_revenue_usd", "USD/year", "revenue of a year at the offer's prices"),
    Column("revenue_of_segment_fraction", "1", "revenue of a quarter over the segment's published revenue of a quarter"),
    # A fleet through the hours
    Column("policy", "1", "when replicas are on: static (all, always), autoscaled, autoscaled with other work in the troughs", "string"),
    Column("requests_per_day", "request/day", "requests a day"),
    Column("users", "1", "people with sessions"),
    Column("replicas_on", "1", "replicas that are on in the mean, starting ones included"),
    Column("lower_bound_mean_replicas", "1", "replicas that each hour needs with no reserve at all, rounded up, in the mean"),
    Column("replica_hours_per_day", "h/day", "hours a day that replicas are on for this demand, starting ones included"),
    Column("of_static_fraction", "1", "replica-hours over those of the static fleet"),
    Column("replica_starts_per_day", "1/day", "replicas switched on a day"),
    Column("energy_mwh_per_day", "MWh/day", "energy at the meter, of everything that is on"),
    Column("cost_usd_per_day", "USD/day", "cost of a day"),
    Column("saved_fraction", "1", "cost of the static fleet that is saved, net of what troughs earn"),
    Column("revenue_usd_per_day", "USD/day", "revenue of a day, troughs included"),
    Column("troughs_used_fraction", "1", "share of the hours without demand in which other work runs"),
    Column("troughs_tokens_per_day", "token/day", "tokens served in the troughs"),
    Column("troughs_revenue_usd_per_day", "USD/day", "of the revenue, what is earned in the troughs"),
    # The thesis
    Column("in_house_fraction", "1", "share of inference on in-house silicon"),
    Column("vendor_price_shock_fraction", "1", "change of the outside vendor's price"),
    Column("in_house_cost_usd_per_mtok", "USD/Mtok", "cost per million tokens on in-house silicon"),
    Column("vendor_cost_usd_per_mtok", "USD/Mtok", "cost per million tokens on the vendor's accelerators, before the shock"),
    Column("price_usd_per_mtok", "USD/Mtok", "selling price per million tokens of the mix"),
    # A simulation
    Column("requests", "request", "requests that were served", "integer"),
    Column("request", "1", "number of a request, in the order of arrivals, from 0", "integer"),
    Column("arrival_s", "s", "when a request arrives"),
    Column("replica", "1", "number of the replica that serves a request, from 0", "integer"),
    Column("pool", "1", "name of the pool of replicas that serves a request", "string"),
    Column("prefill_replica", "1", "number of the replica that prefills a request, from 0, where pools are apart", "integer"),
    Column("priority", "1", "class of a request, 0 served first", "integer"),
    Column("cached_tokens", "token", "input tokens that the replica's prefix cache held"),
    Column("queue_s", "s", "time from arrival to admission"),
    Column("routing", "1", "how requests find their replica", "string"),
    Column("duration_s", "s", "time from the first arrival to the last token"),
    Column("time_s", "s", "time of a sample"),
    Column("goodput_fraction", "1", "share of requests within the latency targets"),
    Column("goodput_requests_per_s", "request/s", "requests per second within the latency targets, all replicas"),
    Column("goodput_output_tokens_per_s", "token/s", "output tokens per second of requests within the latency targets, all replicas"),
    Column("preemptions", "1", "evictions for want of KV memory, each computed anew", "integer"),
    Column("kv_used_fraction", "1", "share of the KV pools that running requests have reserved, or have where they preempt"),
    Column("busy_time_fraction", "1", "share of the replicas' time in which anything runs"),
    Column("energy_j", "J", "energy of the replicas' accelerators"),
    # An owner's hour
    Column("view", "1", "how capital is spread: annuity (with interest) or straight-line", "string"),
    Column("purchase_usd", "USD", "purchase of one accelerator with its share of the server"),
    Column("chip_usd", "USD", "part of the purchase that the chip alone is"),
    Column("cost_usd_per_h", "USD/h", "cost of an accelerator-hour powered"),
    Column("server_capital_usd_per_h", "USD/h", "servers"),
    Column("chip_capital_usd_per_h", "USD/h", "of which the chips"),
    Column("integration_usd_per_h", "USD/h", "racks, installation and testing"),
    Column("network_capital_usd_per_h", "USD/h", "network beyond the servers"),
    Column("facility_capital_usd_per_h", "USD/h", "building, power and cooling"),
    Column("energy_usd_per_h", "USD/h", "energy at the meter"),
    Column("demand_usd_per_h", "USD/h", "charge for the highest draw"),
    Column("operations_usd_per_h", "USD/h", "staff, insurance, taxes on property"),
    Column("maintenance_usd_per_h", "USD/h", "repairs and support"),
    Column("software_usd_per_h", "USD/h", "software licences"),
    Column("spares_usd_per_h", "USD/h", "spare servers"),
    Column("decommissioning_usd_per_h", "USD/h", "removal at the end of life"),
    Column("cost_at_low_purchase_usd_per_h", "USD/h", "the hour at the low end of the purchase price's range"),
    Column("cost_at_high_purchase_usd_per_h", "USD/h", "the hour at the high end of the purchase price's range"),
    Column("published_usd_per_h", "USD/h", "published cost of an accelerator-hour"),
    Column("purchase_at_published_usd", "USD", "purchase at which the computed hour would cost what is published"),
    # Margin
    Column("books", "1", "whose books: cloud (owns and sells), tenant (rents and sells), self (serves itself)", "string"),
    Column("share_fraction", "1", "share of the tokens of a mix"),
    Column("discount_fraction", "1", "flat discount on the list price"),
    Column("list_price_usd_per_mtok", "USD/Mtok", "list price of the mix of tokens served"),
    Column("operating_margin_fraction", "1", "gross margin less overheads, of revenue"),
    Column("cost_at_low_purchase_usd_per_mtok", "USD/Mtok", "cost at the low end of the purchase price's range"),
    Column("cost_at_high_purchase_usd_per_mtok", "USD/Mtok", "cost at the high end of the purchase price's range"),
    Column("margin_at_low_purchase_fraction", "1", "gross margin at the low end of the purchase price's range"),
    Column("margin_at_high_purchase_fraction", "1", "gross margin at the high end of the purchase price's range"),
    Column("break_even_occupancy_fraction", "1", "occupancy at which the gross margin is 0"),
    Column("target_occupancy_fraction", "1", "occupancy that leaves the target as gross margin at this price"),
    Column("operating_target_occupancy_fraction", "1", "occupancy that leaves the target as operating margin at this price"),
    Column("break_even_price_usd_per_mtok", "USD/Mtok", "price at which the gross margin is 0 at this occupancy"),
    Column("target_price_usd_per_mtok", "USD/Mtok", "price that leaves the target as gross margin at this occupancy"),
    Column("operating_target_price_usd_per_mtok", "USD/Mtok", "price that leaves the target as operating margin at this occupancy"),
    Column("price_usd_per_accelerator_h", "USD/accelerator/h", "price of an accelerator-hour"),
    Column("target_price_usd_per_accelerator_h", "USD/accelerator/h", "price of an accelerator-hour that leaves the target as gross margin"),
    Column("capacity_mtok_per_day", "Mtok/day", "what a replica carries in a day at full occupancy"),
    Column("break_even_mtok_per_day", "Mtok/day", "tokens a day for which the replica costs what they earn, or cost where they are bought"),
    Column("saving_fraction", "1", "what serving oneself saves of the price per token"),
    Column("site_energy_kwh_per_mtok", "kWh/Mtok", "energy at the meter per million tokens, idle and down hours included"),
    Column("carbon_kg_per_mtok", "kg/Mtok", "carbon dioxide of that energy at the grid's intensity"),
    Column("water_l_per_mtok", "l/Mtok", "water used on site per million tokens"),
    Column("step", "1", "step of a waterfall", "string"),
    Column("step_usd_per_mtok", "USD/Mtok", "what the step takes away (negative), or the level reached"),
    Column("step_of_price_fraction", "1", "the step over the price after discount"),
    # Capital over time
    Column("period", "1", "time of a cash flow in quarters; 0 is the first day", "integer"),
    Column("time_years", "year", "the same in years"),
    Column("investment_usd", "USD", "paid for equipment and facility"),
    Column("energy_usd", "USD", "paid for energy"),
    Column("upkeep_usd", "USD", "paid for operations, maintenance and software, or rent"),
    Column("proceeds_usd", "USD", "received for equipment that goes, less its removal; at the horizon, book value"),
    Column("tax_usd", "USD", "tax on profit; negative where a loss counts against other profits"),
    Column("cash_flow_usd", "USD", "revenue and proceeds less all that is paid"),
    Column("discounted_cash_flow_usd", "USD", "cash flow in money of the first day, at the cost of capital"),
    Column("cumulative_cash_flow_usd", "USD", "cash flow so far"),
    Column("served_mtok", "Mtok", "tokens served in the quarter"),
    Column("life_years", "year", "life of the equipment, and horizon"),
    Column("net_present_value_usd", "USD", "present value of all flows at the cost of capital"),
    Column("internal_rate_of_return_fraction", "1", "yearly rate at which the present value is 0"),
    Column("payback_years", "year", "until the flows have paid back"),
    Column("discounted_payback_years", "year", "until the discounted flows have paid back"),
    Column("profitability_index", "1", "present value returned over present value invested"),
    Column("levelised_cost_usd_per_accelerator_h", "USD/accelerator/h", "present value of costs over that of available accelerator-hours"),
    Column("levelised_cost_usd_per_mtok", "USD/Mtok", "present value of costs over that of million tokens"),
    Column("horizon_years", "year", "years looked ahead"),
    Column("running_cost_usd_per_mtok", "USD/Mtok", "energy, operations, maintenance and software: what equipment costs that is paid for"),
    Column("capital_cost_usd_per_mtok", "USD/Mtok", "annuity of equipment, racks, network and spares"),
    Column("served_mtok_per_mwh", "Mtok/MWh", "tokens per megawatt-hour of installed IT power"),
    Column("margin_usd_per_mw_year", "USD/MW/year", "revenue less running cost and capital, per megawatt of IT power and year"),
    Column("purchase_at_parity_usd", "USD", "purchase price of an accelerator at which both cost the same per token"),
    Column("refresh_pays_per_token", "1", "whether new equipment, capital and all, serves a token for less than running the old one costs", "boolean"),
    Column("refresh_pays", "1", "whether the present value of the new is above that of the old, at equal power", "boolean"),
    Column("subject", "1", "case whose price is asked for", "string"),
    Column("baseline", "1", "case that it is set against", "string"),
    Column("subject_cost_usd_per_mtok", "USD/Mtok", "cost of the subject per million tokens"),
    Column("baseline_cost_usd_per_mtok", "USD/Mtok", "cost of the baseline per million tokens"),
    Column("subject_mtok_per_accelerator_h", "Mtok/accelerator/h", "tokens that an accelerator of the subject serves in an hour, at its occupancy"),
    Column("cost_usd_per_accelerator_h", "USD/accelerator/h", "cost of an available accelerator-hour of the subject"),
    Column("parity_price_usd_per_accelerator_h", "USD/accelerator/h", "hourly price of the subject's accelerator at which both cost the same per token"),
    Column("parity_vendor_price_shock_fraction", "1", "move of the vendor's price at which both supplies cost the same per token"),
    Column("parity_vendor_price_usd", "USD", "the vendor's price then: of a purchase"),
    Column("parity_vendor_price_usd_per_accelerator_h", "USD/accelerator/h", "the vendor's price then: of a rented hour"),
    # A sweep
    Column("points", "1", "points that a row counts", "integer"),
    Column("column", "1", "column that a row is about", "string"),
    Column("quantile", "1", "share of the points whose value is at most this one"),
    Column("from_value", "1", "lower end of an interval, in the column's unit; none: all below the histogram"),
    Column("to_value", "1", "upper end of an interval, in the column's unit; none: all above the histogram"),
    Column("part", "1", "file of a part", "string"),
    Column("rows", "1", "rows of a part", "integer"),
    # A plan
    Column("quarter", "1", "quarter of a calendar year", "string"),
    Column("region", "1", "what is lost together", "string"),
    Column("delivered_systems", "1", "systems delivered for the quarter", "integer"),
    Column("ordered_systems", "1", "systems ordered in the quarter", "integer"),
    Column("retired_systems", "1", "systems retired at the start of the quarter", "integer"),
    Column("running_cost_usd", "USD", "energy, upkeep, building and rent of the quarter"),
    Column("capital_charge_usd", "USD", "annuities of the equipment in place, for the quarter"),
    Column("served_fraction", "1", "requests served over those demanded"),
    Column("site_it_power_mw", "MW", "all-in IT power of all systems at the site"),
    Column("site_it_power_limit_mw", "MW", "IT power that the site has"),
    Column("peak_requests_per_s", "request/s", "rate at the quarter's peak"),
    Column("replica_goodput_requests_per_s", "request/s", "rate that one replica carries at its mean latency targets"),
    Column("replicas_with_reserves", "1", "replicas with their reserves, before rounding"),
    Column("reserve_factor", "1", "replicas installed for each that the peak needs at goodput"),
    Column("proof_factor", "1", "part of that factor that the simulator asked for"),
    Column("place", "1", "where, or of what", "string"),
    Column("plan_step", "1", "what comes in on the way from the bare demand to the plan", "string"),
    Column("added_usd", "USD", "what the step adds to the least discounted cost"),
    Column("present_cost_usd", "USD", "discounted cost, less revenue where the margin is sought"),
    Column("gap_fraction", "1", "how much lower the best plan could be"),
    Column("largest_short_fraction", "1", "replicas that the simulator asked for beyond the analytic size, at most"),
    Column("replicas_up", "1", "replicas as simulated: those installed less drained and failed ones; a remnant of a large fleet within a cell", "integer"),
    Column("percentile", "1", "percentage of the requests that are within a target"),
    Column("percentile_ttft_s", "s", "that percentile of the time to first token"),
    Column("percentile_tpot_s", "s", "that percentile of the time per output token"),
    # A published day
    Column("cost_usd", "USD", "cost"),
    Column("revenue_usd", "USD", "revenue"),
    Column("markup_on_cost_fraction", "1", "revenue over cost, less one"),
    Column("prefill_fraction", "1", "share of device time that goes to prefill"),
    Column("decode_fraction", "1", "share of device time that goes to decode"),
    Column("quantity", "1", "what a row of a check is about", "string"),
    Column("value", "1", "computed value, in the unit that stands beside it or in that of the column that it is about", "float"),
    Column("published", "1", "published value", "float"),
    Column("unit", "1", "unit of both", "string"),
    Column("source", "1", "source of the published value", "string"),
    Column("difference_fraction", "1", "computed over published, less one"),
    # What is uncertain
    Column("draws", "1", "draws of the uncertain inputs", "integer"),
    Column("runs_fraction", "1", "share of the draws in which the case runs, within its latency targets where it has some"),
    Column("target_margin_fraction", "1", "gross margin that is aimed at"),
    Column("target_chance_fraction", "1", "share of the draws in which the gross margin is above the target"),
    Column("best_chance_fraction", "1", "share of the draws in which the case is the best of all by the outcome that decides"),
    Column("beats_first_chance_fraction", "1", "share of the draws in which the case is better than the first one"),
    Column("profit_chance_fraction", "1", "share of the draws in which the net present value is above 0"),
    Column("input", "1", "key of an uncertain input: of the scenario, or of a figure in the catalogue", "string"),
    Column("input_name", "1", "the input in words", "string"),
    Column("input_low", "1", "low end of the input's range, in the row's unit"),
    Column("input_value", "1", "the input's value, in the row's unit"),
    Column("input_high", "1", "high end of the input's range, in the row's unit"),
    Column("distribution", "1", "how the input is distributed: uniform, triangular, log-normal", "string"),
    Column("group", "1", "inputs that move together", "string"),
    Column("rank_correlation", "1", "Spearman's rank correlation of input and outcome"),
    Column("variance_reduction_fraction", "1", "share of the outcome's variance that goes when the input is known"),
    Column("first_order_index", "1", "Sobol index of the input alone"),
    Column("total_order_index", "1", "Sobol index of the input with all its interactions"),
    Column("break_even_value", "1", "value of the input at which the alternatives are equal, in the row's unit"),
    Column("searched_low", "1", "from where it was searched, in the row's unit"),
    Column("searched_high", "1", "up to where it was searched, in the row's unit"),
    Column("crossings", "1", "times that the sign changes between the ends", "integer"),
    Column("better_below", "1", "which alternative is better below the break-even value, or throughout", "string"),
    Column("better_above", "1", "which alternative is better above the break-even value, or throughout", "string"),
)

COLUMNS = {column.name: column for column in _COLUMNS}

LOW, HIGH = "_low90", "_high90"
# What a column's name ends in that is about draws or about one input of the column: what it then says of it.
OF_INPUTS = {
    "_mean": "mean over draws of: {}",
    "_central": "with every input at its own value: {}",
    "_at_low": "with one input at its low end, the others at their values: {}",
    "_at_high": "with one input at its high end, the others at their values: {}",
    "_swing": "at the high end less at the low end of one input: {}",
    "_worth_knowing": "what knowing one input before the choice improves, expected: {}",
    "_worth_knowing_all": "what knowing every input before the choice improves, expected: {}",
} | {f"_p{rank:02d}": f"{rank}th percentile over draws, {rank} % of them lie below: {{}}" for rank in (5, 10, 25, 50, 75, 90, 95)}
_PERCENTILE = re.compile(r"(.+)_p(\d\d)(_sampling_error)?(_[a-z]+)")


def column(name: str) -> Column:
    """The column of a name; bounds of the central 90 % (`..._low90`, `..._high90`) are described from what they bound, percentiles over requests
    (`..._p99_s`) from what they rank, and what is about draws or inputs (`..._p10`, `..._at_low`) from the outcome that it is about.

    >>> column("time_per_output_token_s_low90").unit
    's'
    >>> column("time_to_first_token_p99_s").description
    '99th percentile over requests of: time to first token, waiting included'
    """
    for suffix, word in ((LOW, "lower"), (HIGH, "upper")):
        if name.endswith(suffix):
            bounded = COLUMNS[name.removesuffix(suffix)]
            return Column(name, bounded.unit, f"{word} end of the central 90 % of: {bounded.description}")
    for suffix, words in OF_INPUTS.items():
        if name.endswith(suffix) and name.removesuffix(suffix) in COLUMNS:
            of_inputs = COLUMNS[name.removesuffix(suffix)]
            return Column(name, of_inputs.unit, words.format(of_inputs.description))
    of = _PERCENTILE.fullmatch(name)
    if of and of[1] + of[4] in COLUMNS:
        ranked = COLUMNS[of[1] + of[4]]
        text = f"{of[2]}th percentile over requests of: {ranked.description.replace(', mean over requests', '')}"
        return Column(name, ranked.unit, f"half the width of the central 90 % of what other random numbers would give for: {text}" if of[3] else text)
    return COLUMNS[name]
