# CUDA graphs need the CUDA runtime's headers and the libcudart that libtorch itself loads. Both are optional:
# without them the addon is the same but runs each step eagerly. Included by torch.cmake for CUDA libtorchs only.

# The major version libtorch was linked with; a second libcudart in one process would have its own state.
file(STRINGS "${_torch_lib}/libc10_cuda.so" _cudart_needed REGEX "libcudart\\.so\\.[0-9]+")
string(REGEX MATCH "libcudart\\.so\\.[0-9]+" _cudart_needed "${_cudart_needed}")

# pip's NVIDIA packages beside torch first: libtorch's own RPATH leads there. Then a toolkit.
get_filename_component(_site "${LIBTORCH}/.." ABSOLUTE)
file(GLOB _cuda_roots "${_site}/nvidia/cu[0-9]*" "${_site}/nvidia/cuda_runtime")
foreach(_root "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}" "/usr/local/cuda")
  if(_root)
    list(APPEND _cuda_roots "${_root}")
  endif()
endforeach()

set(_cudart "")
foreach(_root IN LISTS _cuda_roots)
  file(GLOB _found "${_root}/lib/${_cudart_needed}" "${_root}/lib64/${_cudart_needed}"
    "${_root}/targets/*/lib/${_cudart_needed}")
  if(_cudart_needed AND _found)
    list(GET _found 0 _cudart)
    break()
  endif()
endforeach()

# Headers may come from another root than the library (pip's runtime package does not always hold cuBLAS's).
set(_cuda_includes "")
foreach(_root IN LISTS _cuda_roots)
  if(EXISTS "${_root}/include/cuda_runtime_api.h")
    list(APPEND _cuda_includes "${_root}/include")
  endif()
endforeach()
file(GLOB _more "${_site}/nvidia/*/include")
list(APPEND _cuda_includes ${_more})
list(REMOVE_DUPLICATES _cuda_includes)

set(PADFT_CUDA_GRAPHS OFF)
if(_cudart AND _cuda_includes)
  include(CheckCXXSourceCompiles)
  unset(PADFT_CUDA_GRAPHS_COMPILE CACHE)  # the toolkit may have changed since the last time
  set(CMAKE_REQUIRED_INCLUDES "${LIBTORCH}/include" "${LIBTORCH}/include/torch/csrc/api/include" ${_cuda_includes})
  set(CMAKE_REQUIRED_FLAGS "-std=c++${PADFT_CXX_STANDARD}")
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  check_cxx_source_compiles("
    #include <ATen/cuda/CUDAGraph.h>
    #include <c10/cuda/CUDAGuard.h>
    void probe() { at::cuda::CUDAGraph graph; }" PADFT_CUDA_GRAPHS_COMPILE)
  unset(CMAKE_REQUIRED_INCLUDES)
  unset(CMAKE_REQUIRED_FLAGS)
  unset(CMAKE_TRY_COMPILE_TARGET_TYPE)
  if(PADFT_CUDA_GRAPHS_COMPILE)
    set(PADFT_CUDA_GRAPHS ON)
    target_compile_definitions(padft_torch INTERFACE PADFT_WITH_CUDA_GRAPHS=1)
    target_include_directories(padft_torch SYSTEM INTERFACE ${_cuda_includes})
    target_link_libraries(padft_torch INTERFACE "${_cudart}")
  endif()
endif()
if(PADFT_CUDA_GRAPHS)
  message(STATUS "CUDA graphs: on (${_cudart})")
elseif(NOT _cudart OR NOT _cuda_includes)
  message(STATUS "CUDA graphs: off (no cuda_runtime_api.h or no ${_cudart_needed} in: ${_cuda_roots})")
else()
  message(STATUS "CUDA graphs: off (ATen/cuda/CUDAGraph.h does not compile with ${_cuda_includes})")
endif()
