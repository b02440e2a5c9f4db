//! Overrides of a seed's scenario, as a list of `field=value` that fits on a command line.

use super::{Fault, Scenario};

macro_rules! numbers {
    ($($field:ident),+ $(,)?) => {
        impl Scenario {
            fn set_number(&mut self, field: &str, value: &str) -> Result<(), String> {
                match field {
                    $(stringify!($field) => {
                        self.$field = value.parse().map_err(|error| format!("{field}={value}: {error}"))?;
                    })+
                    _ => return Err(format!("{field}: unknown field of a scenario")),
                }
                Ok(())
            }

            fn differing_numbers(&self, other: &Self) -> Vec<String> {
                let mut fields = Vec::new();
                $(if self.$field != other.$field {
                    fields.push(format!(concat!(stringify!($field), "={}"), self.$field));
                })+
                fields
            }
        }
    };
}

numbers!(
    nodes,
    duration_us,
    fault_gap_us,
    downtime_us,
    ambush_percent,
    loss_percent,
    duplicate_percent,
    reorder_percent,
    straggler_percent,
    whole_commit_percent,
    repeat_percent,
    clock_drift_percent,
    clock_spread_us,
    bit_flip_percent,
    message_us,
    turn_us,
    append_us,
    long_append_percent,
    flush_us,
    report_us,
    request_gap_us,
    request_burst,
    request_timeout_ms,
    keys,
    value_bytes,
    max_append_entries,
    max_append_bytes,
    max_inflight_messages,
    max_inflight_bytes,
    entry_cache_bytes,
    min_segment_bytes,
    max_segment_bytes,
);

impl Scenario {
    /// Sets a field by its name: a number, or `faults=Kill,Pause`.
    ///
    /// # Errors
    /// A description, if there is no such field or the value has the wrong type.
    pub fn set(&mut self, field: &str, value: &str) -> Result<(), String> {
        if field != "faults" {
            return self.set_number(field, value);
        }
        let names = value.split(',').filter(|name| !name.is_empty());
        let faults = names.map(|name| {
            let fault = Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
            fault.ok_or_else(|| format!("{name}: unknown fault"))
        });
        self.faults = faults.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The overrides that turn `other` into this scenario: `field=value`, for [`Self::set`].
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut fields = self.differing_numbers(other);
        if self.faults != other.faults {
            let names: Vec<_> = self.faults.iter().map(|fault| format!("{fault:?}")).collect();
            fields.push(format!("faults={}", names.join(",")));
        }
        fields
    }
}
