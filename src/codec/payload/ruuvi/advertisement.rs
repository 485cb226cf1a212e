//! Ruuvi's data formats, as they are published on docs.ruuvi.com ("Bluetooth advertisements"): 3 (RAWv1), 5 (RAWv2), 6
//! and E1 (Ruuvi Air), C5 (cut RAWv2). All are big endian. Where a format has a value for "not available" (the largest of an
//! unsigned field, the smallest of a signed one), that is no reading.

/// The manufacturer's id of Ruuvi Innovations, as it is sent.
const RUUVI: [u8; 2] = [0x99, 0x04];
/// The type of an advertisement's element that holds a manufacturer's data.
const MANUFACTURER: u8 = 0xFF;

/// A value: Ruuvi's name of the field, the metric, the unit, and what it is.
pub type Value = (&'static str, &'static str, &'static str, f64);

/// What an advertisement says.
#[derive(Clone, Debug, PartialEq)]
pub struct Advertisement {
    /// The tag's address, where the format has all of it.
    pub mac: Option<[u8; 6]>,
    /// Which measurement this is; the same one may be sent several times.
    pub sequence: Option<u32>,
    /// Its values.
    pub values: Vec<Value>,
}

/// Why an advertisement cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An element ends behind the advertisement.
    #[error("byte {at}: an element of {len} bytes, {left} are left")]
    Element {
        /// Where the element begins.
        at: usize,
        /// How long it says that it is.
        len: usize,
        /// How many bytes there are.
        left: usize,
    },
    /// The data of a known format are too short.
    #[error("data format {format:X}: {found} bytes, expected {expected}")]
    Short {
        /// The format.
        format: u8,
        /// How many bytes there are.
        found: usize,
        /// How many it has.
        expected: usize,
    },
    /// A format that is none of the published ones.
    #[error("data format {0:X}: expected 3, 5, 6, C5 or E1")]
    Unknown(u8),
}

/// Bytes from hex.
///
/// # Errors
/// The character, counted from 0, at which there is no pair of hex digits.
pub fn unhex(text: &str) -> Result<Vec<u8>, usize> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = text.as_bytes().chunks(2).enumerate();
    pairs
        .map(|(n, pair)| match pair {
            [high, low] => Ok(digit(*high).ok_or(n * 2)? * 16 + digit(*low).ok_or(n * 2 + 1)?),
            _ => Err(n * 2),
        })
        .collect()
}

/// Reads an advertisement: elements of length, type and data, of which one is Ruuvi's. `None` where none is.
///
/// # Errors
/// Where it is cut off, or of an unknown format.
pub fn read(bytes: &[u8]) -> Result<Option<Advertisement>, Fault> {
    // The manufacturer's data alone, as some receivers pass them on.
    if let [MANUFACTURER, a, b, data @ ..] = bytes
        && [*a, *b] == RUUVI
    {
        return measurement(data).map(Some);
    }
    let mut at = 0;
    while let Some((&len, rest)) = bytes.get(at..).and_then(|rest| rest.split_first()) {
        let len = usize::from(len);
        let Some(element) = rest.get(..len) else {
            return Err(Fault::Element { at, len, left: rest.len() });
        };
        if let [MANUFACTURER, a, b, data @ ..] = element
            && [*a, *b] == RUUVI
        {
            return measurement(data).map(Some);
        }
        // An element without length ends the advertisement (Bluetooth Core, Vol 3 Part C 11).
        if len == 0 {
            break;
        }
        at += 1 + len;
    }
    Ok(None)
}

/// The fields of one measurement, read by their offsets. The length is checked beforehand.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    fn u24(&self, at: usize) -> u32 {
        u32::from_be_bytes([0, self.0[at], self.0[at + 1], self.0[at + 2]])
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// All bits set is no address.
    fn mac(&self, at: usize) -> Option<[u8; 6]> {
        let mac: [u8; 6] = self.0[at..at + 6].try_into().ok()?;
        (mac != [0xFF; 6]).then_some(mac)
    }

    /// Temperature, humidity and pressure, as all formats but 3 have them from byte 1 on.
    fn weather(&self) -> Vec<Value> {
        let mut values = Vec::with_capacity(16);
        let (temperature, humidity, pressure) = (self.i16(1), self.u16(3), self.u16(5));
        if temperature != i16::MIN {
            values.push(("temperature", "temperature", "degC", f64::from(temperature) / 200.0));
        }
        if humidity != u16::MAX {
            values.push(("humidity", "humidity", "%", f64::from(humidity) / 400.0));
        }
        if pressure != u16::MAX {
            values.push(("pressure", "pressure", "hPa", (f64::from(pressure) + 50_000.0) / 100.0));
        }
        values
    }

    /// Acceleration in three directions, in thousandths of g.
    fn acceleration(&self, at: usize, values: &mut Vec<Value>) {
        let directions = [("accelX", "acceleration_x"), ("accelY", "acceleration_y"), ("accelZ", "acceleration_z")];
        for (n, (own_name, metric)) in directions.into_iter().enumerate() {
            let value = self.i16(at + 2 * n);
            if value != i16::MIN {
                values.push((own_name, metric, "g", f64::from(value) / 1_000.0));
            }
        }
    }

    /// Voltage of the battery, power of the sender, and the counter of movements behind them.
    fn power(&self, at: usize, values: &mut Vec<Value>) {
        let power = self.u16(at);
        let (battery, sender, movements) = (power >> 5, power & 0x1F, self.u8(at + 2));
        if battery != 0x7FF {
            values.push(("voltage", "battery_voltage", "V", f64::from(battery + 1_600) / 1_000.0));
        }
        if sender != 0x1F {
            values.push(("txPower", "tx_power", "dBm", f64::from(sender) * 2.0 - 40.0));
        }
        if movements != u8::MAX {
            values.push(("movementCounter", "movement_counter", "", f64::from(movements)));
        }
    }

    fn particles(&self, at: usize, own_name: &'static str, metric: &'static str, values: &mut Vec<Value>) {
        let value = self.u16(at);
        if value != u16::MAX {
            values.push((own_name, metric, "ug/m3", f64::from(value) / 10.0));
        }
    }

    fn co2(&self, at: usize, values: &mut Vec<Value>) {
        let value = self.u16(at);
        if value != u16::MAX {
            values.push(("CO2", "co2", "ppm", f64::from(value)));
        }
    }

    /// The indexes of VOC and NOx, nine bits each, whose lowest bits are in the flags; and the flag of the calibration.
    fn indexes(&self, at: usize, flags: usize, values: &mut Vec<Value>) {
        let flags = self.u8(flags);
        let indexes = [("VOC", "voc_index", 6), ("NOx", "nox_index", 7)];
        for (n, (own_name, metric, bit)) in indexes.into_iter().enumerate() {
            let value = u16::from(self.u8(at + n)) << 1 | u16::from(flags >> bit & 1);
            if value != 0x1FF {
                values.push((own_name, metric, "", f64::from(value)));
            }
        }
        values.push(("flag_calibration_in_progress", "calibration_in_progress", "", f64::from(flags & 1)));
    }
}

/// One measurement, without the manufacturer's id.
fn measurement(data: &[u8]) -> Result<Advertisement, Fault> {
    let format = data.first().copied().unwrap_or_default();
    let expected = match format {
        0x03 => 14,
        0x05 => 24,
        0x06 => 20,
        0xC5 => 18,
        0xE1 => 40,
        _ => return Err(Fault::Unknown(format)),
    };
    if data.len() < expected {
        return Err(Fault::Short { format, found: data.len(), expected });
    }
    let fields = Fields(data);
    Ok(match format {
        0x03 => raw_v1(&fields),
        0x05 => raw_v2(&fields),
        0xC5 => cut_raw_v2(&fields),
        0x06 => format_6(&fields),
        _ => format_e1(&fields),
    })
}

/// Format 3: no address, no sequence number, and no values for "not available" but for those that acceleration shares
/// with the other formats. The temperature's sign is its highest bit, its fraction in hundredths.
fn raw_v1(fields: &Fields<'_>) -> Advertisement {
    let whole = f64::from(fields.u8(2) & 0x7F) + f64::from(fields.u8(3)) / 100.0;
    let temperature = if fields.u8(2) & 0x80 == 0 { whole } else { -whole };
    let mut values = vec![
        ("humidity", "humidity", "%", f64::from(fields.u8(1)) / 2.0),
        ("temperature", "temperature", "degC", temperature),
        ("pressure", "pressure", "hPa", (f64::from(fields.u16(4)) + 50_000.0) / 100.0),
    ];
    fields.acceleration(6, &mut values);
    values.push(("voltage", "battery_voltage", "V", f64::from(fields.u16(12)) / 1_000.0));
    Advertisement { mac: None, sequence: None, values }
}

fn raw_v2(fields: &Fields<'_>) -> Advertisement {
    let mut values = fields.weather();
    fields.acceleration(7, &mut values);
    fields.power(13, &mut values);
    let sequence = fields.u16(16);
    Advertisement { mac: fields.mac(18), sequence: (sequence != u16::MAX).then_some(u32::from(sequence)), values }
}

fn cut_raw_v2(fields: &Fields<'_>) -> Advertisement {
    let mut values = fields.weather();
    fields.power(7, &mut values);
    let sequence = fields.u16(10);
    Advertisement { mac: fields.mac(12), sequence: (sequence != u16::MAX).then_some(u32::from(sequence)), values }
}

/// Format 6 has the lower half of the address; the light is the logarithm of 0 to 65535 lx in 254 steps.
fn format_6(fields: &Fields<'_>) -> Advertisement {
    let mut values = fields.weather();
    fields.particles(7, "PM2.5", "pm2_5", &mut values);
    fields.co2(9, &mut values);
    fields.indexes(11, 16, &mut values);
    let light = fields.u8(13);
    if light != u8::MAX {
        let value = (f64::from(light) * 65_536f64.ln() / 254.0).exp() - 1.0;
        // The documentation rounds to hundredths: finer steps are those of the logarithm.
        values.push(("luminosity", "illuminance", "lx", (value * 100.0).round() / 100.0));
    }
    Advertisement { mac: None, sequence: Some(u32::from(fields.u8(15))), values }
}

fn format_e1(fields: &Fields<'_>) -> Advertisement {
    let mut values = fields.weather();
    fields.particles(7, "PM1.0", "pm1", &mut values);
    fields.particles(9, "PM2.5", "pm2_5", &mut values);
    fields.particles(11, "PM4.0", "pm4", &mut values);
    fields.particles(13, "PM10.0", "pm10", &mut values);
    fields.co2(15, &mut values);
    fields.indexes(17, 28, &mut values);
    let (light, sequence) = (fields.u24(19), fields.u24(25));
    if light != 0xFF_FFFF {
        values.push(("luminosity", "illuminance", "lx", f64::from(light) / 100.0));
    }
    Advertisement { mac: fields.mac(34), sequence: (sequence != 0xFF_FFFF).then_some(sequence), values }
}
