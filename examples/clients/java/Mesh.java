import hashmesh.gateway.v1.Gateway.GetCapabilitiesRequest;
import hashmesh.gateway.v1.GatewayServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.net.URI;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** A mesh, and how to outlive its outages. */
final class Mesh {
    static final long CALL_SECONDS = 10; // A unary call that takes longer has an unknown end and is made again.
    static final long OUTAGE = TimeUnit.SECONDS.toNanos(60); // Waited out, from the first failure until there is progress again.

    interface Attempt {
        void make(ManagedChannel channel) throws Exception;
    }

    private final URI server;
    private int failures;

    Mesh(String server) {
        this.server = URI.create(server);
    }

    /** There was progress, and not a mere connection: a server may fail right after that. */
    void progress() {
        failures = 0;
    }

    /** Makes attempts until one succeeds, one fails for good, or an outage lasts too long. */
    void outlive(Attempt attempt) throws Exception {
        for (long since = 0; ; failures++) {
            // A connection for each, as the last one may hang.
            var channel = connect();
            MeshError error;
            try {
                // Says soon whether anybody answers, and whether it is a mesh.
                GatewayServiceGrpc.newBlockingStub(channel).withDeadlineAfter(CALL_SECONDS, TimeUnit.SECONDS)
                        .getCapabilities(GetCapabilitiesRequest.getDefaultInstance());
                attempt.make(channel);
                return;
            } catch (StatusRuntimeException failure) {
                error = MeshError.of(failure);
            } catch (MeshError failure) {
                error = failure;
            } finally {
                channel.shutdownNow();
            }
            since = failures == 0 ? System.nanoTime() : since;
            if (!error.isTransient() || System.nanoTime() - since > OUTAGE) throw error;
            // The server's word is a lower bound; what is random on top keeps clients from coming back all at once.
            double own = Math.min(0.05 * Math.pow(2, failures), 2) * ThreadLocalRandom.current().nextDouble(0.5, 1);
            System.err.printf("%s; again in %.2f s%n", error, error.retryAfter + own);
            Thread.sleep((long) (1000 * (error.retryAfter + own)));
        }
    }

    private ManagedChannel connect() throws Exception {
        String key = System.getenv("HASHMESH_API_KEY"), authorities = System.getenv("HASHMESH_TLS_CA");
        var headers = new Metadata();
        if (key != null) headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + key);
        var tls = TlsChannelCredentials.newBuilder();
        if (authorities != null) tls.trustManager(new File(authorities));
        var credentials = "https".equals(server.getScheme()) ? tls.build() : InsecureChannelCredentials.create();
        return Grpc.newChannelBuilder(server.getAuthority(), credentials)
                .intercept(MetadataUtils.newAttachHeadersInterceptor(headers)).build();
    }
}
