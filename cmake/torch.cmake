# Provides padft_torch, an interface target with libtorch's headers and libraries, and PADFT_CXX_STANDARD.
#
# LIBTORCH (cache variable or environment) is a folder in one of two layouts:
#   wheel   <root>/include/ATen, <root>/lib/libtorch_cpu.so            PyTorch wheels and libtorch archives
#   system  <root>/include/ATen, <root>/lib/<multiarch>/libtorch_cpu.so   Debian's libtorch-dev, LIBTORCH=/usr
#
# The libraries are linked by path and not through find_package(Torch): the latter demands a whole CUDA
# toolkit as soon as libtorch has a CUDA half, and nothing here compiles device code.

set(LIBTORCH "" CACHE PATH "libtorch: a folder that holds include/ and lib/")
if(NOT LIBTORCH AND DEFINED ENV{LIBTORCH})
  set(LIBTORCH "$ENV{LIBTORCH}" CACHE PATH "libtorch: a folder that holds include/ and lib/" FORCE)
endif()
if(NOT LIBTORCH)
  message(FATAL_ERROR "No libtorch was named. Run `npm run setup`, which finds or fetches one, or pass "
    "-DLIBTORCH=<folder with include/ and lib/>, e.g. <site-packages>/torch, or /usr for Debian's libtorch-dev.")
endif()
get_filename_component(LIBTORCH "${LIBTORCH}" ABSOLUTE)

if(NOT EXISTS "${LIBTORCH}/include/ATen/ATen.h")
  message(FATAL_ERROR "LIBTORCH=${LIBTORCH} has no include/ATen/ATen.h: it is not a libtorch with headers.")
endif()
set(_torch_lib "${LIBTORCH}/lib")
if(NOT EXISTS "${_torch_lib}/libtorch_cpu.so" AND CMAKE_LIBRARY_ARCHITECTURE)
  set(_torch_lib "${LIBTORCH}/lib/${CMAKE_LIBRARY_ARCHITECTURE}")
endif()
if(NOT EXISTS "${_torch_lib}/libtorch_cpu.so")
  message(FATAL_ERROR "LIBTORCH=${LIBTORCH} has no libtorch_cpu.so in lib/ or lib/${CMAKE_LIBRARY_ARCHITECTURE}/.")
endif()
message(STATUS "libtorch: ${LIBTORCH}")

# libtorch 2.14 refuses C++17 with an #error that names C++20; older ones compile as 17.
set(PADFT_CXX_STANDARD 17)
file(STRINGS "${LIBTORCH}/include/ATen/ATen.h" _needs_20 REGEX "C\\+\\+20")
if(_needs_20)
  set(PADFT_CXX_STANDARD 20)
endif()
message(STATUS "C++ standard: ${PADFT_CXX_STANDARD}")

add_library(padft_torch INTERFACE)
# CMake drops /usr/include from -isystem by itself; adding it would break #include_next <stdlib.h>.
target_include_directories(padft_torch SYSTEM INTERFACE
  "${LIBTORCH}/include" "${LIBTORCH}/include/torch/csrc/api/include")
target_link_libraries(padft_torch INTERFACE "${_torch_lib}/libtorch_cpu.so" "${_torch_lib}/libc10.so")

# PyTorch's wheels before 2.6 have the old std::string; their CMake file says so.
set(_torch_config "${LIBTORCH}/share/cmake/Torch/TorchConfig.cmake")
if(EXISTS "${_torch_config}")
  file(STRINGS "${_torch_config}" _old_abi REGEX "D_GLIBCXX_USE_CXX11_ABI=0")
  if(_old_abi)
    target_compile_definitions(padft_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=0)
  endif()
endif()

# Debian builds c10 with glog, whose symbols its inline logging then needs in our objects.
if(EXISTS "${LIBTORCH}/include/c10/macros/cmake_macros.h")
  file(STRINGS "${LIBTORCH}/include/c10/macros/cmake_macros.h" _uses_glog REGEX "^#define C10_USE_GLOG")
  if(_uses_glog)
    find_library(PADFT_GLOG glog REQUIRED)
    target_link_libraries(padft_torch INTERFACE "${PADFT_GLOG}")
  endif()
endif()

# at::parallel_for is inlined from ATen/ParallelOpenMP.h and runs serially unless the caller is compiled with
# -fopenmp. The runtime must be the very file libtorch loads: two libgomps mean two thread pools.
find_package(OpenMP REQUIRED COMPONENTS CXX)
target_compile_options(padft_torch INTERFACE ${OpenMP_CXX_FLAGS})
file(GLOB _torch_gomp "${_torch_lib}/libgomp*.so*" "${_torch_lib}/libiomp5.so" "${LIBTORCH}/../torch.libs/libgomp*.so*")
# Clang's calls are to libomp and not to libgomp: with it a second runtime cannot be avoided.
if(_torch_gomp AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU"
    AND NOT _torch_lib STREQUAL "${LIBTORCH}/lib/${CMAKE_LIBRARY_ARCHITECTURE}")
  list(GET _torch_gomp 0 _torch_gomp)
  get_filename_component(_torch_gomp "${_torch_gomp}" ABSOLUTE)
else()
  list(GET OpenMP_CXX_LIBRARIES 0 _torch_gomp)
endif()
message(STATUS "OpenMP runtime: ${_torch_gomp}")
target_link_libraries(padft_torch INTERFACE "${_torch_gomp}")

# CUDA. Nothing refers to libtorch_cuda by symbol, so the linker would drop it and no device would register.
set(PADFT_TORCH_CUDA OFF)
if(EXISTS "${_torch_lib}/libtorch_cuda.so")
  set(PADFT_TORCH_CUDA ON)
  target_compile_definitions(padft_torch INTERFACE PADFT_LIBTORCH_HAS_CUDA=1)
  target_link_libraries(padft_torch INTERFACE "-Wl,--push-state,--no-as-needed"
    "${_torch_lib}/libc10_cuda.so" "${_torch_lib}/libtorch_cuda.so" "-Wl,--pop-state")
  include("${CMAKE_CURRENT_LIST_DIR}/cuda-graphs.cmake")
endif()

set(PADFT_TORCH_RPATH "${_torch_lib}")
