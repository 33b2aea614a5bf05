#pragma once

#include "network.h"

namespace padft {

/// PreAct-ResNet-18 for 32×32 images as BackdoorBench has it: see preact_resnet.cpp.
std::unique_ptr<Network> make_preact_resnet18(const NetworkOptions& options, at::Device device);

}  // namespace padft
