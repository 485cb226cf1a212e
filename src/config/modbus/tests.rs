use super::super::Config;
use super::*;

const BUS: &str = "[[modbus]]\nname = \"bus\"\nport = \"/dev/rs485\"\n";
const UNIT: &str = "[[modbus.unit]]\nid = 1\n";

fn parsed(text: &str) -> Modbus {
    Config::parse(text, "gadwall.toml").unwrap_or_else(|e| panic!("{e}")).modbus.remove(0)
}

/// The message about one register, which stands in line 6.
#[track_caller]
fn register_says(register: &str, expected: &str) {
    says(
        &format!("{BUS}{UNIT}registers = [{{ metric = \"m\", {register} }}]\n"),
        &format!("6: modbus[0].unit[0].registers[0].{expected}"),
    );
}

#[track_caller]
fn says(text: &str, expected: &str) {
    let error = Config::parse(text, "gadwall.toml").unwrap_err().to_string();
    assert_eq!(error, format!("gadwall.toml:{expected}"));
}

#[test]
fn a_bus_with_two_units() {
    let bus = parsed(
        r#"
        [[modbus]]
        name = "cellar"
        port = "/dev/rs485"
        baud = 19200
        parity = "even"
        timeout = "250ms"
        interval = "5s"

        [[modbus.unit]]
        id = 1
        node = "meter"
        function = "input"
        type = "f32"
        registers = [
            { metric = "voltage", address = 0, unit = "V" },
            { metric = "power", address = 12, unit = "W", interval = "1s" },
            { metric = "alarm", address = 0x100, function = "holding", bit = 3 },
        ]

        [[modbus.unit]]
        id = 17
        gap = 4
        order = "CDAB"

        [[modbus.unit.registers]]
        metric = "temperature"
        address = 4
        type = "i16"
        scale = 0.1
        offset = -40
        na = 0x8000
        node = "tank"

        [[modbus.unit.registers]]
        metric = "pump"
        address = 9
        function = "coil"
        "#,
    );
    let uart = Uart { baud: 19_200, parity: Parity::Even, ..Uart::default() };
    assert_eq!((&*bus.name, bus.uart, bus.timeout.as_millis()), ("cellar", uart, 250));
    let got: Vec<_> = bus.units.iter().flat_map(|u| u.registers.iter().map(move |r| (u.id, u.gap, r))).collect();
    let of = |r: &Register| (r.node.to_string(), r.function, r.address, r.kind, r.order, r.interval.as_secs());
    let meter = |function, address, kind, secs| ("meter".to_owned(), function, address, kind, Order::Abcd, secs);
    assert_eq!(
        got.iter().map(|(id, gap, r)| (*id, *gap, of(r))).collect::<Vec<_>>(),
        [
            (1, 0, meter(Function::Input, 0, Kind::F32, 5)),
            (1, 0, meter(Function::Input, 12, Kind::F32, 1)),
            (1, 0, meter(Function::Holding, 256, Kind::Bit(3), 5)),
            (17, 4, ("tank".into(), Function::Holding, 4, Kind::I16, Order::Cdab, 5)),
            (17, 4, ("cellar-17".into(), Function::Coil, 9, Kind::Bool, Order::Cdab, 5)),
        ]
    );
    let tank = got[3].2;
    assert_eq!((tank.scale.of_integer(613), tank.na), (21.3, Some(Na::Integer(0x8000))));
    assert_eq!(got[0].2.measure, "V");
}

#[test]
fn the_defaults_and_the_variables() {
    let text = format!("{BUS}{UNIT}registers = [{{ metric = \"m\", address = 7 }}]\n");
    let bus = parsed(&text);
    let register = Register {
        node: "bus".into(),
        metric: "m".into(),
        measure: String::new(),
        function: Function::Holding,
        address: 7,
        kind: Kind::U16,
        order: Order::Abcd,
        scale: Scale::default(),
        na: None,
        interval: Duration::from_secs(10),
    };
    let units = vec![Unit { id: 1, gap: 0, registers: vec![register] }];
    assert_eq!(bus, Modbus { name: "bus".into(), port: "/dev/rs485".into(), units, ..Modbus::default() });
    let variables = [("GADWALL_MODBUS__0__UNIT__0__REGISTERS__0__NA", "0xFFFF"), ("GADWALL_MODBUS__0__BAUD", "1200")];
    let bus = Config::parse_with(&text, "gadwall.toml", variables).unwrap().modbus.remove(0);
    assert_eq!((bus.uart.baud, bus.units[0].registers[0].na), (1_200, Some(Na::Integer(0xFFFF))));
}

#[test]
fn what_is_wrong_with_a_register() {
    register_says("address = 65536", "address = 65536: expected a whole number from 0 to 65535");
    register_says(
        "address = 400108",
        "address = 400108: expected a whole number from 0 to 65535: 400108 in a manual is address 107 with function = \
         \"holding\", 300108 with \"input\"",
    );
    register_says("address = 65535, type = \"u32\"", "address = 65535: expected at most 65534: it takes 2 registers");
    register_says(
        "address = 1, type = \"u24\"",
        "type = \"u24\": expected \"u16\", \"i16\", \"u32\", \"i32\", \"u64\", \"i64\", \"f32\", \"f64\" or \"bool\"",
    );
    register_says(
        "address = 1, function = \"write\"",
        "function = \"write\": expected \"coil\", \"discrete\", \"holding\" or \"input\"",
    );
    register_says(
        "address = 1, order = \"abcd\"",
        "order = \"abcd\": expected \"ABCD\", \"CDAB\", \"BADC\" or \"DCBA\"",
    );
    register_says(
        "address = 1, interval = \"10ms\"",
        "interval = \"10ms\": expected a duration from \"100ms\" to \"1d\"",
    );
    register_says("address = 1, bit = 16", "bit = 16: expected a whole number from 0 to 15");
    register_says(
        "address = 1, bit = 1, type = \"u32\"",
        "bit = 1: expected with type = \"u16\" or without a type: it is a bit of one register",
    );
    register_says("address = 1, function = \"coil\", bit = 1", "bit = 1: expected without it: a coil is one bit");
    register_says(
        "address = 1, function = \"discrete\", type = \"u16\"",
        "type = \"u16\": expected \"bool\" or nothing: a discrete input is one bit",
    );
    register_says("address = 1, bit = 1, scale = 2", "scale = 2: expected without it: a bit is 0 or 1");
    register_says("address = 1, scale = 0", "scale = 0: expected a number of up to 18 digits that is not 0");
    register_says("address = 1, offset = \"x\"", "offset = \"x\": expected a number of up to 18 digits");
    register_says(
        "metrics = 1, address = 1",
        "metrics: unknown key, expected one of: metric, address, node, interval, function, type, bit, order, scale, offset, unit, na",
    );
    register_says("scale = 2", "address: missing, expected the register's address, 0 to 65535");
}

#[test]
fn what_is_wrong_with_a_unit_or_a_bus() {
    says(BUS, "1: modbus[0].unit: missing, expected at least one, written as [[modbus.unit]]");
    says(
        &format!("{BUS}{UNIT}"),
        "4: modbus[0].unit[0].registers: missing, expected at least one, such as { metric = \"voltage\", address = 0 }",
    );
    let registers = "registers = [{ metric = \"m\", address = 7 }]\n";
    says(
        &format!("{BUS}[[modbus.unit]]\nid = 248\n{registers}"),
        "5: modbus[0].unit[0].id = 248: expected a whole number from 1 to 247",
    );
    says(
        &format!("{BUS}{UNIT}{registers}{UNIT}node = \"other\"\n{registers}"),
        "8: modbus[0].unit[1].id = 1: modbus[0].unit[0] is this unit, expected all its registers there",
    );
    says(
        &format!("{BUS}{UNIT}registers = [\n{{ metric = \"m\", address = 1 }},\n{{ metric = \"m\", address = 2 }}]\n"),
        "8: modbus[0].unit[0].registers[1].metric = \"m\": modbus[0].unit[0].registers[0] is this metric of the node \"bus\", \
         expected another name or node",
    );
    says(
        &format!(
            "{BUS}parity = \"mark\"
{UNIT}{registers}"
        ),
        "4: modbus[0].parity = \"mark\": expected \"none\", \"even\" or \"odd\"",
    );
    says(
        &format!("[[serial]]\nname = \"hub\"\nport = \"/dev/rs485\"\nformat = \"hub-lines\"\n{BUS}{UNIT}{registers}"),
        "7: modbus[0].port = \"/dev/rs485\": serial[0] reads this port, expected one that no other source reads",
    );
    let many: String = (0..=MAX_REGISTERS).map(|i| format!("{{ metric = \"m{i}\", address = {i} }},")).collect();
    says(
        &format!("{BUS}{UNIT}registers = [{many}]\n"),
        "4: modbus[0].unit = (an array): 1001 registers in all, expected at most 1000",
    );
}
