// What PyTorch answers: the fixtures of test/parity, for the core's functions that no call from JavaScript shows alone.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>

namespace padft::test {

/// Every tensor of test/parity/fixtures/NAME.safetensors, copied. Integers come as int64, as the core takes them. Throws
/// std::runtime_error when the file is not there or not one that make_fixtures.py writes.
std::map<std::string, at::Tensor> read_fixture(const std::string& name);

}  // namespace padft::test
