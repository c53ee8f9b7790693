"""Calls the plugin, answers everything with "ok", and looks at what it asks for."""

import importlib.util
import io
import json
import pathlib
import unittest

path = pathlib.Path(__file__).with_name("@NAME@.py")
spec = importlib.util.spec_from_file_location("plugin", path)
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)


def asks(**call):
    """What the plugin asks for in this call."""
    lines = [json.dumps(call)] + ['{"ok":true}'] * 100
    out = io.StringIO()
    plugin.main(plugin.Host(io.StringIO("\n".join(lines)), out))
    return [json.loads(line) for line in out.getvalue().splitlines()]


class Test(unittest.TestCase):
    def test_settings(self):
        self.assertEqual(asks(call="check", settings={"text": "hello"}), [{"op": "done"}])
        self.assertEqual(asks(call="check", settings={})[0]["key"], "text")
        self.assertEqual(asks(call="check", settings={"text": "hello", "x": 1})[0]["key"], "x")

    def test_stages(self):
        write = {"op": "write", "path": "/etc/motd", "contents": "hello\n"}
        self.assertEqual(asks(call="apply-system", settings={"text": "hello"})[0], write)
        append = {"op": "append", "path": "/etc/motd", "contents": "This is fabric2.\n"}
        self.assertEqual(asks(call="apply-node", settings={}, node={"name": "fabric2"})[0], append)


if __name__ == "__main__":
    unittest.main()
